//! 12288-25-12-6: images of 64 x 64 pixels in three colours, of six classes.
//!
//! `--data` names a directory with the folders `train` and `test`, in each of them a folder per class with
//! PNG, JPEG or PNM files (other sizes are scaled); or an npz file with the arrays `train_x` (of shape
//! (rows, 64, 64, 3), bytes), `train_y`, `test_x` and `test_y`. Without it, such folders are made first: a disc
//! in one of six places, among noise.
//!
//! ```text
//! cargo run --release --example images -- --data signs
//! ```

mod common;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use tilewise_nn::data::images::Images;
use tilewise_nn::data::npy;
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

const USAGE: &str = "images: trains 12288-25-12-6 on images of 64 x 64 x 3\n
  --data DIR  with folders train and test, in each a folder of images per class; or an npz file
              with train_x, train_y, test_x and test_y; without it, images are made";
const SIDE: usize = 64;
const FEATURES: usize = SIDE * SIDE * 3;
const CLASSES: usize = 6;
/// The largest value of a byte.
const WHITE: f32 = 255.0;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("images: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The images and labels whose arrays begin with `part`.
fn read(file: &Path, part: &str) -> Result<Dataset> {
    let arrays = npy::read_npz(file)?;
    let find = |kind: &str| {
        let name = format!("{part}_{kind}");
        let array = arrays.iter().find(|(other, _)| *other == name).map(|(_, array)| array);
        array.ok_or_else(|| {
            tilewise_nn::Error::format(&file.display().to_string(), name, "an array", "none")
        })
    };
    let mut features = find("x")?.matrix::<f32>()?;
    features.data_mut().iter_mut().for_each(|x| *x /= WHITE);
    Dataset::new(features, find("y")?.labels()?, CLASSES)
}

/// Folders of images below `directory`.
fn folders(directory: &Path) -> Result<(Dataset, Dataset)> {
    let images = Images::new(SIDE as u32, SIDE as u32).resized();
    let train = images.read_folder(directory.join("train"))?;
    let test = images.read_folder_like(directory.join("test"), &train.names)?;
    Ok((train.data, test))
}

/// Makes folders of discs in six places, a little off, among noise.
fn make(directory: &Path, seed: u64) -> std::io::Result<()> {
    let mut random = Random::new(seed);
    for (part, count) in [("train", 50), ("test", 20)] {
        for class in 0..CLASSES {
            let folder = directory.join(part).join(class.to_string());
            fs::create_dir_all(&folder)?;
            for number in 0..count {
                fs::write(folder.join(format!("{number:03}.ppm")), picture(class, &mut random))?;
            }
        }
    }
    Ok(())
}

/// A portable pixmap: its size, and then three bytes per pixel.
fn picture(class: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = format!("P6 {SIDE} {SIDE} 255\n").into_bytes();
    let mut near = |place: usize| (place * 20 + 10) as f64 + 3.0 * random.normal();
    let (down, across) = (near(1 + class / 3), near(class % 3));
    for pixel in 0..SIDE * SIDE {
        let (y, x) = ((pixel / SIDE) as f64 - down, (pixel % SIDE) as f64 - across);
        let disc = if y * y + x * x < 64.0 { 0.6 } else { 0.2 };
        bytes.extend((0..3).map(|_| (255.0 * (disc + 0.4 * random.normal())) as u8));
    }
    bytes
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = common::Options::parse(USAGE, 12)? else { return Ok(()) };
    let (train, test) = match &options.data {
        Some(directory) if directory.is_dir() => folders(directory)?,
        Some(file) => (read(file, "train")?, read(file, "test")?),
        None => {
            let directory = options.out.join("discs");
            make(&directory, options.seed)?;
            println!("made images: {}", directory.display());
            folders(&directory)?
        }
    };
    let mut model = Sequential::new()
        .linear(FEATURES, 25)
        .batch_norm()
        .relu()
        .linear(25, 12)
        .batch_norm()
        .relu()
        .linear(12, train.classes())
        .build(options.seed)?;
    let trainer = Trainer::new(Adam::default()).epochs(options.epochs).batch_size(32);
    let history = trainer.seed(options.seed).drop_last(true).fit(&mut model, &train, &test)?;
    common::save_curve(&history, &options.out.join("images.svg"))?;
    println!("images: accuracy={:.4}", model.evaluate(&test)?.accuracy);
    Ok(())
}
