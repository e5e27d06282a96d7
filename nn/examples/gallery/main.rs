//! The pictures of a course: descent, boundaries of softmax regression, batch normalisation over
//! learning rates, and covariate shift. Each part prints what it found and draws one SVG.
//!
//! ```text
//! cargo run --release --example gallery -- --out docs/gallery
//! ```

mod boundaries;
mod descent;
mod rates;
mod shift;
mod svg;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "gallery: draws four pictures of a course on deep networks

  --epochs N  of each training on digits (8)
  --seed N    of weights, points and the order of rows (1)
  --out DIR   for the pictures (target/tilewise/gallery)";

/// What was asked for on the command line.
struct Options {
    epochs: u64,
    seed: u64,
    out: PathBuf,
}

impl Options {
    /// `None` after `--help`.
    fn parse() -> Result<Option<Self>, lexopt::Error> {
        use lexopt::prelude::*;
        let mut options = Self { epochs: 8, seed: 1, out: "target/tilewise/gallery".into() };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("epochs") => options.epochs = parser.value()?.parse()?,
                Long("seed") => options.seed = parser.value()?.parse()?,
                Long("out") => options.out = parser.value()?.into(),
                Short('h') | Long("help") => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

/// A part of the gallery: what it found, and its picture.
type Part = fn(&Options) -> Result<(String, String), Box<dyn Error>>;

const PARTS: [(&str, Part); 4] = [
    ("descent", descent::draw),
    ("boundaries", boundaries::draw),
    ("rates", rates::draw),
    ("shift", shift::draw),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gallery: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse()? else { return Ok(()) };
    std::fs::create_dir_all(&options.out)?;
    for (name, part) in PARTS {
        let (found, picture) = part(&options)?;
        let path = options.out.join(format!("{name}.svg"));
        std::fs::write(&path, picture)?;
        println!("{name}: {found} ({})", path.display());
    }
    Ok(())
}
