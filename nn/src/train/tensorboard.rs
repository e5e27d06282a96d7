//! Event files of TensorBoard: records of protocol buffers, each with a masked CRC-32C.
//!
//! A record is its length (8 bytes), the checksum of those, the event, and its checksum. Of the
//! messages `Event`, `Summary` and `HistogramProto` the few fields that are used are written by hand.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tilewise_kernels::Float;

use super::callback::Callback;
use super::graph;
use super::session::Session;
use crate::error::{Error, Result};
use crate::model::Summary;

/// Bins of a histogram, of equal width.
const BINS: usize = 30;

/// Writes an event file that TensorBoard shows: the graph of the model, and losses, accuracy and learning
/// rate by epoch, with the number of steps taken on the x axis.
///
/// ```no_run
/// use tilewise_nn::prelude::*;
/// use tilewise_nn::TensorBoard;
///
/// let data = digits()?;
/// let mut model = Sequential::new().linear(64, 10).build(1)?;
/// let mut board = TensorBoard::new("runs/first").loss_every(10).histograms();
/// Trainer::new(Adam::default()).fit_with(&mut model, &data, &data, &mut [&mut board])?;
/// // tensorboard --logdir runs
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct TensorBoard {
    directory: PathBuf,
    loss_every: u64,
    histograms: bool,
    file: Option<EventFile>,
}

impl TensorBoard {
    /// Writes into a file of its own in `directory`, which is one run to TensorBoard.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), loss_every: 0, histograms: false, file: None }
    }

    /// Writes the loss of every `steps`-th minibatch too; with 0, the default, of none.
    pub fn loss_every(self, steps: u64) -> Self {
        Self { loss_every: steps, ..self }
    }

    /// Writes a histogram of each trained tensor after every epoch.
    pub fn histograms(self) -> Self {
        Self { histograms: true, ..self }
    }

    fn file(&mut self) -> Result<&mut EventFile> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(EventFile::create(&self.directory)?)),
        }
    }
}

impl<T: Float> Callback<T> for TensorBoard {
    fn begin(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        self.file()?.graph(&session.model().summary())
    }

    fn step(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        let step = session.steps();
        if self.loss_every == 0 || !step.is_multiple_of(self.loss_every) {
            return Ok(());
        }
        self.file()?.scalar("loss/minibatch", step, session.loss())
    }

    fn epoch(&mut self, session: &mut Session<'_, T>) -> Result<()> {
        let step = session.steps();
        let Some(epoch) = session.history().epochs.last().copied() else { return Ok(()) };
        let histograms = self.histograms;
        let file = self.file()?;
        file.scalar("loss/training", step, epoch.train_loss)?;
        file.scalar("loss/validation", step, epoch.valid_loss)?;
        file.scalar("accuracy/validation", step, epoch.valid_accuracy)?;
        if let Some(rate) = epoch.learning_rate {
            file.scalar("learning rate", step, rate)?;
        }
        if histograms {
            for (index, layer) in session.model().layers().enumerate() {
                for parameter in layer.parameters() {
                    let tag = format!("{}/{}", session.model().layer_name(index), parameter.name);
                    let values = parameter.value.iter().map(|value| value.to_f64());
                    file.histogram(&tag, step, &values.collect::<Vec<f64>>())?;
                }
            }
        }
        file.flush()
    }

    fn end(&mut self, _: &mut Session<'_, T>) -> Result<()> {
        self.file.as_mut().map_or(Ok(()), EventFile::flush)
    }
}

/// An event file that is being written.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventFile {
    /// Creates a file in `directory`, which is made if it is missing. TensorBoard reads all files of a
    /// directory as one run.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        fs::create_dir_all(directory).map_err(|error| Error::io(directory, error))?;
        // TensorBoard reads files in the order of their names; a process may open several.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("events.out.tfevents.{nanos:020}.tilewise.{}", std::process::id());
        let path = directory.join(name);
        let file = File::create_new(&path).map_err(|error| Error::io(&path, error))?;
        let mut events = Self { path, file: BufWriter::new(file) };
        let mut event = time();
        bytes_field(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        Ok(events)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one value of a curve.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        let mut field = vec![2 << 3 | FIXED_32];
        field.extend((value as f32).to_le_bytes());
        self.summary(tag, step, &field)
    }

    /// Writes a histogram of the finite ones among `values`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn histogram(&mut self, tag: &str, step: u64, values: &[f64]) -> Result<()> {
        let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        let mut field = Vec::new();
        bytes_field(&mut field, 5, &histogram(&finite));
        self.summary(tag, step, &field)
    }

    /// Writes the layers of a model, their connections and sizes as the graph of this run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn graph(&mut self, model: &Summary) -> Result<()> {
        let mut event = time();
        bytes_field(&mut event, 4, &graph::graph(model));
        self.record(&event)
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| Error::io(&self.path, error))
    }

    fn summary(&mut self, tag: &str, step: u64, value: &[u8]) -> Result<()> {
        let mut tagged = Vec::new();
        bytes_field(&mut tagged, 1, tag.as_bytes());
        tagged.extend(value);
        let mut summary = Vec::new();
        bytes_field(&mut summary, 1, &tagged);
        let mut event = time();
        event.push(2 << 3 | VARINT);
        varint(&mut event, step);
        bytes_field(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let mut bytes = Vec::with_capacity(event.len() + 16);
        bytes.extend((event.len() as u64).to_le_bytes());
        let checksum = masked_crc(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes.extend(event);
        bytes.extend(masked_crc(event).to_le_bytes());
        self.file.write_all(&bytes).map_err(|error| Error::io(&self.path, error))
    }
}

/// The wire types of protocol buffers.
pub(super) const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

pub(super) fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub(super) fn bytes_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | BYTES);
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn double_field(message: &mut Vec<u8>, number: u8, value: f64) {
    message.push(number << 3 | FIXED_64);
    message.extend(value.to_le_bytes());
}

/// The beginning of an event: seconds since 1970.
fn time() -> Vec<u8> {
    let mut event = Vec::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    double_field(&mut event, 1, now.as_secs_f64());
    event
}

/// A `HistogramProto` of finite values.
fn histogram(values: &[f64]) -> Vec<u8> {
    let fold = |start, pick: fn(f64, f64) -> f64| values.iter().copied().fold(start, pick);
    let (low, high) = match values {
        [] => (0.0, 0.0),
        _ => (fold(f64::INFINITY, f64::min), fold(f64::NEG_INFINITY, f64::max)),
    };
    // Half of each, as their difference may overflow.
    let width = (high / 2.0 - low / 2.0) / BINS as f64 * 2.0;
    let mut counts = [0.0f64; BINS];
    for value in values {
        let bin = if width > 0.0 { ((value - low) / width) as usize } else { 0 };
        counts[bin.min(BINS - 1)] += 1.0;
    }
    let mut message = Vec::new();
    let squares = values.iter().map(|value| value * value).sum();
    let numbers = [low, high, values.len() as f64, values.iter().sum(), squares];
    for (number, value) in (1..).zip(numbers) {
        double_field(&mut message, number, value);
    }
    let limits = (1..=BINS).map(|bin| if bin == BINS { high } else { low + width * bin as f64 });
    for (number, values) in [(6, limits.collect::<Vec<f64>>()), (7, counts.to_vec())] {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes_field(&mut message, number, &packed);
    }
    message
}

/// CRC-32C (Castagnoli), rotated and shifted so that checksums of checksums are no special case.
fn masked_crc(bytes: &[u8]) -> u32 {
    /// The polynomial, lowest power first.
    const CASTAGNOLI: u32 = 0x82f6_3b78;
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut crc, mut bit) = (index as u32, 0);
            while bit < 8 {
                crc = (crc >> 1) ^ (CASTAGNOLI * (crc & 1));
                bit += 1;
            }
            table[index] = crc;
            index += 1;
        }
        table
    };
    let step = |crc: u32, &byte: &u8| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)];
    let crc = !bytes.iter().fold(u32::MAX, step);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        let unmasked = |bytes: &[u8]| masked_crc(bytes).wrapping_sub(0xa282_ead8).rotate_left(15);
        // The check value of CRC-32C, and RFC 3720, B.4.
        assert_eq!(unmasked(b"123456789"), 0xe306_9283);
        assert_eq!(unmasked(&[0; 32]), 0x8a91_36aa);
        assert_eq!(unmasked(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn histograms_count_every_value_once() {
        let message = histogram(&[-1.0, 0.0, 0.5, 1.0, 1.0]);
        let doubles = |at: usize, count: usize| -> Vec<f64> {
            let words = message[at..][..8 * count].chunks(8);
            words.map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let head: Vec<f64> = (0..5).map(|field| doubles(9 * field + 1, 1)[0]).collect();
        assert_eq!(head, [-1.0, 1.0, 5.0, 1.5, 3.25]);
        // Behind two packed fields, each with a tag and a length of two bytes.
        let (limits, counts) = (doubles(45 + 3, BINS), doubles(45 + 3 + 8 * BINS + 3, BINS));
        assert!(limits.is_sorted() && limits[BINS - 1] == 1.0);
        assert_eq!((counts[0], counts[15], counts[22], counts[29]), (1.0, 1.0, 1.0, 2.0));
        assert_eq!(counts.iter().sum::<f64>(), 5.0);
        for odd in [&[][..], &[3.0][..], &[f64::MAX, -f64::MAX][..]] {
            assert!(!histogram(odd).is_empty());
        }
    }
}
