//! What the examples share: their options and the description of a run.

use std::error::Error;
use std::path::{Path, PathBuf};

use tilewise_nn::{Epoch, History};

/// What was asked for on the command line.
pub(crate) struct Options {
    /// Times through the training data.
    pub(crate) epochs: u64,
    /// Of weights, dropout and the order of rows.
    pub(crate) seed: u64,
    /// Where files are written.
    pub(crate) out: PathBuf,
    /// Where data is read, in examples that need it.
    pub(crate) data: Option<PathBuf>,
}

impl Options {
    /// Reads the command line; `None` after `--help`, which prints `usage` and the defaults.
    pub(crate) fn parse(usage: &str, epochs: u64) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::prelude::*;
        // Example programs lie in the build directory's `release/examples`.
        let target = std::env::current_exe()
            .ok()
            .and_then(|exe| Some(exe.ancestors().nth(3)?.join("tilewise")));
        let out = target.unwrap_or_else(|| PathBuf::from("target/tilewise"));
        let mut options = Self { epochs, seed: 1, out, data: None };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("epochs") => options.epochs = parser.value()?.parse()?,
                Long("seed") => options.seed = parser.value()?.parse()?,
                Long("out") => options.out = parser.value()?.into(),
                Long("data") => options.data = Some(parser.value()?.into()),
                Short('h') | Long("help") => {
                    let Self { epochs, seed, out, .. } = options;
                    println!("{usage}");
                    println!("  --epochs N  times through the training data ({epochs})");
                    println!("  --seed N    of weights and the order of rows ({seed})");
                    println!("  --out DIR   for the files written ({})", out.display());
                    return Ok(None);
                }
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

/// Writes the learning curve, and says where and what it shows.
pub(crate) fn save_curve(history: &History, path: &Path) -> Result<(), Box<dyn Error>> {
    history.save_svg(path)?;
    for (number, epoch) in history.epochs.iter().enumerate() {
        let Epoch { train_loss, valid_loss, valid_accuracy, .. } = epoch;
        println!(
            "epoch {:2}: training loss {train_loss:.4}, validation loss {valid_loss:.4}, \
             accuracy {valid_accuracy:.4}",
            number + 1
        );
    }
    println!("learning curve: {}", path.display());
    Ok(())
}
