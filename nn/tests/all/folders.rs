//! Folders of images, and the network of 12288 inputs on them.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use tilewise_nn::data::images::Images;
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    path
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A plain portable pixmap of 2 x 1 pixels: red, and grey.
const PIXMAP: &[u8] = b"P3 2 1 255\n255 0 0  51 51 51\n";

#[test]
fn images_become_channels_of_shares() {
    let expected = [1.0, 0.2, 0.0, 0.2, 0.0, 0.2].map(|x: f64| x as f32);
    let rgb = RgbImage::from_raw(2, 1, vec![255, 0, 0, 51, 51, 51]).unwrap();
    let clear = RgbaImage::from_fn(2, 1, |x, _| {
        let Rgb([r, g, b]) = *rgb.get_pixel(x, 0);
        Rgba([r, g, b, 9])
    });
    let wide = ImageBuffer::<Rgb<u16>, _>::from_fn(2, 1, |x, _| {
        Rgb(rgb.get_pixel(x, 0).0.map(|value| u16::from(value) * 257))
    });
    let images = Images::new(2, 1);
    for (name, bytes) in [
        ("plain", PIXMAP.to_vec()),
        ("pixmap", b"P6 2 1 255\n\xff\0\0\x33\x33\x33".to_vec()),
        ("png", encoded(rgb, ImageFormat::Png)),
        ("with alpha", encoded(clear, ImageFormat::Png)),
        ("of 16 bits", encoded(wide, ImageFormat::Png)),
    ] {
        assert_eq!(images.from_bytes::<f32>(&bytes, name).unwrap(), expected, "{name}");
    }
    let grey = GrayImage::from_raw(2, 1, vec![255, 51]).unwrap();
    let grey = encoded(grey, ImageFormat::Png);
    assert_eq!(images.grey().from_bytes::<f64>(&grey, "grey").unwrap(), [1.0, 0.2]);
    assert_eq!(images.from_bytes::<f64>(&grey, "g").unwrap(), [1.0, 0.2, 1.0, 0.2, 1.0, 0.2]);
    // JPEG keeps a plain colour to a level or two.
    let plain = RgbImage::from_pixel(16, 16, Rgb([200, 100, 50]));
    let jpeg = encoded(plain, ImageFormat::Jpeg);
    let values = Images::new(16, 16).from_bytes::<f64>(&jpeg, "jpeg").unwrap();
    for (channel, level) in [200.0, 100.0, 50.0].into_iter().enumerate() {
        let plane = &values[channel * 256..][..256];
        assert!(plane.iter().all(|value| (255.0 * value - level).abs() < 4.0), "{channel}");
    }
    let small = Images::new(3, 5).resized().from_bytes::<f64>(&jpeg, "jpeg").unwrap();
    assert!(small.len() == 45 && (255.0 * small[0] - 200.0).abs() < 4.0);
}

#[test]
fn folders_are_classes_in_the_order_of_their_values() {
    let root = scratch("folders");
    let grey = |level: u8| format!("P2 1 1 255 {level}").into_bytes();
    for (file, level) in [
        ("train/10/b.pgm", 30),
        ("train/10/a.pgm", 20),
        ("train/2/x.pgm", 10),
        ("test/10/y.pgm", 40),
    ] {
        write(&root.join(file), &grey(level));
    }
    write(&root.join("train/README.txt"), b"not an image");
    write(&root.join("train/10/.hidden"), b"neither");
    let images = Images::new(1, 1).grey();
    let train = images.read_folder::<f64>(root.join("train")).unwrap();
    assert_eq!(train.names.classes, ["2", "10"]);
    assert_eq!(train.data.labels(), [1, 1, 0]);
    let levels: Vec<f64> =
        train.data.features().data().iter().map(|x| (255.0 * x).round()).collect();
    assert_eq!(levels, [20.0, 30.0, 10.0]);
    let test = images.read_folder_like::<f64>(root.join("test"), &train.names).unwrap();
    assert_eq!((test.labels(), test.classes()), (&[1][..], 2));
}

#[test]
fn hostile_folders_and_images_are_errors_that_name_them() {
    let root = scratch("hostile");
    let images = Images::new(2, 1);
    let read = |name: &str| images.read_folder::<f32>(root.join(name)).unwrap_err().to_string();
    let good = PIXMAP;
    write(&root.join("flat/a.ppm"), good);
    write(&root.join("text/a/notes.txt"), b"not an image at all");
    write(&root.join("size/a/x.ppm"), b"P3 1 1 255 1 2 3");
    fs::create_dir_all(root.join("empty/a")).unwrap();
    fs::create_dir_all(root.join("deep/a/b")).unwrap();
    write(&root.join("cut/a/x.ppm"), &good[..good.len() - 4]);
    for (name, message) in [
        ("missing", "missing: "),
        ("flat", "flat: folders: expected a folder for each class, with images in it, got none"),
        ("text", "notes.txt: contents: expected a PNG, JPEG or PNM image without damage, got none"),
        ("size", "x.ppm: pixels: expected 2 x 1 (Images::resized scales others), got 1 x 1"),
        ("empty", "images: expected at least one, got none"),
        ("deep", "images: expected files only, got "),
        ("cut", "x.ppm: contents: expected a PNG, JPEG or PNM image without damage, got "),
    ] {
        let error = read(name);
        assert!(error.contains(message), "{error}");
    }
    write(&root.join("classes/a/x.ppm"), good);
    write(&root.join("others/b/x.ppm"), good);
    let names = images.read_folder::<f32>(root.join("classes")).unwrap().names;
    let error = images.read_folder_like::<f32>(root.join("others"), &names).unwrap_err();
    assert!(error.to_string().contains("b: class: expected one of \"a\", got b"), "{error}");
    let error = Images::new(0, 1).from_bytes::<f32>(good, "good").unwrap_err().to_string();
    assert_eq!(error, "size of the images: expected at least one pixel, got 0 x 1");
}

#[test]
fn damaged_and_enormous_images_neither_panic_nor_take_memory() {
    let rgb = RgbImage::from_fn(16, 16, |x, y| Rgb([x as u8 * 15, y as u8 * 15, 7]));
    let images = Images::new(16, 16).resized();
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Pnm] {
        let good = encoded(rgb.clone(), format);
        assert_eq!(images.from_bytes::<f32>(&good, "good").unwrap().len(), 3 * 256);
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << (at % 8);
            let outcomes = [&flipped[..], &good[..at]].map(|b| images.from_bytes::<f32>(b, "bad"));
            for outcome in outcomes {
                match outcome {
                    Ok(values) => assert!(values.iter().all(|x| (0.0..=1.0).contains(x))),
                    Err(error) => assert!(error.to_string().starts_with("bad: "), "{error}"),
                }
            }
        }
    }
    // A header that claims four terabytes, without an element behind it.
    for header in ["P6 1000000 1000000 255\n", "P6 16384 16384 65535\n", "P3 0 5 255\n"] {
        let error = images.from_bytes::<f32>(header.as_bytes(), "huge").unwrap_err().to_string();
        assert!(error.starts_with("huge: "), "{error}");
    }
    let mut png = encoded(rgb, ImageFormat::Png);
    png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    assert!(images.from_bytes::<f32>(&png, "huge").is_err());
}

/// A disc in one of six places, as a pixmap of 64 x 64.
fn sign(class: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = b"P6 64 64 255\n".to_vec();
    let mut near = |place: usize| (place * 20 + 10) as f64 + random.normal();
    let (down, across) = (near(1 + class / 3), near(class % 3));
    for pixel in 0..64 * 64 {
        let (y, x) = ((pixel / 64) as f64 - down, (pixel % 64) as f64 - across);
        bytes.extend([if y * y + x * x < 64.0 { 220 } else { 40 }; 3]);
    }
    bytes
}

#[test]
fn d11_the_network_of_12288_inputs_learns_from_folders_of_images() {
    let root = scratch("signs");
    let mut random = Random::new(1);
    for (part, count) in [("train", 12), ("test", 4)] {
        for class in 0..6 {
            for number in 0..count {
                let file = root.join(format!("{part}/{class}/{number:02}.ppm"));
                write(&file, &sign(class, &mut random));
            }
        }
    }
    let images = Images::new(64, 64);
    let train = images.read_folder::<f32>(root.join("train")).unwrap();
    let test = images.read_folder_like::<f32>(root.join("test"), &train.names).unwrap();
    assert_eq!((train.data.len(), test.len(), test.classes()), (72, 24, 6));
    let plan = Sequential::new().linear(12288, 25).batch_norm().relu();
    let mut model = plan.linear(25, 12).batch_norm().relu().linear(12, 6).build(1).unwrap();
    let trainer = Trainer::new(Adam::default().learning_rate(0.01)).epochs(12).batch_size(24);
    trainer.fit(&mut model, &train.data, &test).unwrap();
    let accuracy = model.evaluate(&test).unwrap().accuracy;
    assert!(accuracy > 0.9, "{accuracy}");
}
