//! The header of an npy file: a Python dictionary of three fields.

use std::io::Read;

use tilewise_kernels::f16;

use crate::error::{Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// numpy itself refuses longer ones.
const MAX_HEADER: usize = 10_000;
const MAX_DIMENSIONS: usize = 32;
/// Elements begin at a multiple of this.
const ALIGN: usize = 64;

/// What the bytes of an element mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    /// `f`, `i`, `u` or `b`.
    kind: u8,
    size: usize,
    big_endian: bool,
}

impl Element {
    /// Floating point numbers of `size` bytes.
    pub(crate) fn float(size: usize) -> Self {
        Self { kind: b'f', size, big_endian: false }
    }

    /// Signed integers of eight bytes.
    pub(crate) fn count() -> Self {
        Self { kind: b'i', size: 8, big_endian: false }
    }

    /// numpy's name for it, such as `<f4`.
    pub(crate) fn descr(self) -> String {
        let order = match (self.size, self.big_endian) {
            (1, _) => '|',
            (_, true) => '>',
            (_, false) => '<',
        };
        format!("{order}{}{}", char::from(self.kind), self.size)
    }

    fn from_descr(descr: &str) -> Option<Self> {
        let (order, rest) = (descr.as_bytes().first()?, descr.get(1..)?);
        let (kind, size) = (*rest.as_bytes().first()?, rest.get(1..)?);
        let size: usize = size.parse().ok()?;
        let big_endian = match order {
            b'<' | b'=' => false,
            b'>' => true,
            b'|' if size == 1 => false,
            _ => return None,
        };
        let known = match kind {
            b'f' => matches!(size, 2 | 4 | 8),
            b'i' | b'u' => matches!(size, 1 | 2 | 4 | 8),
            b'b' => size == 1,
            _ => false,
        };
        known.then_some(Self { kind, size, big_endian })
    }

    pub(crate) fn size(self) -> usize {
        self.size
    }

    /// The value of an element of [`size`](Self::size) bytes.
    pub(crate) fn number(self, bytes: &[u8]) -> f64 {
        // The last eight bytes in big-endian order, whatever the file's.
        let mut word = [0; 8];
        for (index, &byte) in bytes.iter().enumerate() {
            let place = if self.big_endian { index } else { self.size - 1 - index };
            word[8 - self.size + place] = byte;
        }
        let bits = u64::from_be_bytes(word);
        let unused = 64 - 8 * self.size as u32;
        match (self.kind, self.size) {
            (b'f', 2) => f64::from(f16::from_bits(bits as u16)),
            (b'f', 4) => f64::from(f32::from_bits(bits as u32)),
            (b'f', _) => f64::from_bits(bits),
            (b'i', _) => ((bits << unused) as i64 >> unused) as f64,
            (b'b', _) => f64::from(u8::from(bits != 0)),
            _ => bits as f64,
        }
    }
}

/// What an npy file says before its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) element: Element,
    /// Whether the first dimension is the fastest.
    pub(super) fortran: bool,
    pub(super) shape: Vec<usize>,
}

impl Header {
    pub(super) fn read(reader: &mut dyn Read, source: &str) -> Result<Self> {
        let wrong = |what: &str, expected: &str, got: &dyn std::fmt::Display| {
            Error::format(source, what, expected, got)
        };
        let mut take = |bytes: &mut [u8]| {
            reader.read_exact(bytes).map_err(|error| wrong("header", "an npy file", &error))
        };
        let mut start = [0; 8];
        take(&mut start)?;
        let (magic, version) = start.split_at(6);
        if magic != MAGIC {
            let got = format!("{magic:02x?}");
            return Err(wrong("magic number", "that of an npy file, 93 4e 55 4d 50 59", &got));
        }
        let len = match version[0] {
            1 => {
                let mut len = [0; 2];
                take(&mut len)?;
                usize::from(u16::from_le_bytes(len))
            }
            2 | 3 => {
                let mut len = [0; 4];
                take(&mut len)?;
                u32::from_le_bytes(len) as usize
            }
            other => return Err(wrong("version", "1, 2 or 3", &other)),
        };
        if len > MAX_HEADER {
            return Err(wrong("length of the header", "at most 10000", &len));
        }
        let mut text = vec![0; len];
        take(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        Self::parse(text.trim()).ok_or_else(|| {
            let expected = "a dictionary of descr (numbers or booleans), fortran_order and shape";
            wrong("header", expected, &text.trim().escape_debug())
        })
    }

    /// The dictionary as numpy writes it; the order of its fields and blanks may be any.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut element, mut fortran, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, value) = rest.split_once(':')?;
            let (key, value) = (unquoted(key.trim())?, value.trim_start());
            // A shape has commas of its own.
            let end = if value.starts_with('(') { value.find(')')? + 1 } else { 0 };
            let end = value[end..].find(',').map_or(value.len(), |at| end + at);
            let this = value[..end].trim();
            match key {
                "descr" if element.is_none() => {
                    element = Some(Element::from_descr(unquoted(this)?)?)
                }
                "fortran_order" if fortran.is_none() => {
                    fortran = Some(match this {
                        "True" => true,
                        "False" => false,
                        _ => return None,
                    });
                }
                "shape" if shape.is_none() => shape = Some(extents(this)?),
                _ => return None,
            }
            rest = value[end..].trim_start_matches(',').trim();
        }
        Some(Self { element: element?, fortran: fortran?, shape: shape? })
    }

    pub(super) fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let shape: String = self.shape.iter().map(|extent| format!("{extent}, ")).collect();
        let order = if self.fortran { "True" } else { "False" };
        let descr = self.element.descr();
        let mut text =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}");
        // Magic number, version, length, and the newline at the end.
        let before = MAGIC.len() + 2 + 2 + text.len() + 1;
        text.extend(std::iter::repeat_n(' ', before.next_multiple_of(ALIGN) - before));
        text.push('\n');
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        // 32 extents of 20 digits are far below 2^16.
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    /// Where each of `count` elements, last dimension fastest, lies in the file.
    pub(super) fn places(&self, count: usize) -> Vec<usize> {
        if !self.fortran {
            return (0..count).collect();
        }
        let mut index = vec![0; self.shape.len()];
        let mut strides = Vec::with_capacity(self.shape.len());
        let mut stride = 1;
        for &extent in &self.shape {
            strides.push(stride);
            stride *= extent.max(1);
        }
        let mut at = 0;
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            places.push(at);
            for dimension in (0..index.len()).rev() {
                index[dimension] += 1;
                at += strides[dimension];
                if index[dimension] < self.shape[dimension] {
                    break;
                }
                at -= strides[dimension] * self.shape[dimension];
                index[dimension] = 0;
            }
        }
        places
    }
}

fn unquoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains(['\'', '"', '\\'])).then_some(inner)
}

/// `()`, `(3,)` or `(3, 4)`.
fn extents(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?.trim();
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    let extents: Option<Vec<usize>> =
        inner.split(',').map(|part| part.trim().parse().ok()).collect();
    extents.filter(|extents| extents.len() <= MAX_DIMENSIONS)
}
