//! The one error type: what was wrong, what was expected, what came instead.

use std::fmt;

/// Which kind of argument was wrong; match on this, print the [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Two shapes do not fit each other, or a buffer is too short for its shape.
    Shape,
    /// A stride makes elements overlap or leave the buffer, or an operation needs contiguous rows.
    Stride,
    /// A value is outside its domain: a label, a probability, a hyperparameter.
    Value,
    /// The size of a buffer does not fit `usize`.
    Overflow,
    /// An instruction set was asked for that does not exist or that this CPU lacks.
    Isa,
}

/// An argument that an operation cannot accept. Nothing was written when this is returned.
///
/// One pointer wide, so that passing results around costs nothing where all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    what: String,
    expected: String,
    got: String,
}

impl Error {
    /// An error of `kind` about `what`, where `expected` was needed and `got` came.
    #[cold]
    pub fn new(
        kind: ErrorKind,
        what: impl Into<String>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        let (expected, got) = (expected.to_string(), got.to_string());
        Self(Box::new(Inner { kind, what: what.into(), expected, got }))
    }

    /// A [`ErrorKind::Shape`] error.
    pub fn shape(
        what: impl Into<String>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Self::new(ErrorKind::Shape, what, expected, got)
    }

    /// A [`ErrorKind::Value`] error.
    pub fn value(
        what: impl Into<String>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Self::new(ErrorKind::Value, what, expected, got)
    }

    /// Which kind of argument was wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The argument that was wrong.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// What would have been accepted.
    pub fn expected(&self) -> &str {
        &self.0.expected
    }

    /// What came.
    pub fn got(&self) -> &str {
        &self.0.got
    }

    /// The same error with `context` (a layer's or a file's name) in front of its subject.
    #[must_use]
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.0.what = format!("{context}: {}", self.0.what);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { what, expected, got, .. } = &*self.0;
        write!(f, "{what}: expected {expected}, got {got}")
    }
}

impl std::error::Error for Error {}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Checks that a buffer called `what` has exactly `expected` elements.
pub(crate) fn check_len(what: &str, expected: usize, got: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::shape(what, format!("{expected} elements"), format!("{got} elements")))
}

/// The product of two sizes, or an [`ErrorKind::Overflow`] error about `what`.
pub(crate) fn checked_area(what: &str, rows: usize, cols: usize) -> Result<usize> {
    rows.checked_mul(cols).ok_or_else(|| {
        Error::new(
            ErrorKind::Overflow,
            what,
            "a size that fits the address space",
            format!("{rows} x {cols}"),
        )
    })
}
