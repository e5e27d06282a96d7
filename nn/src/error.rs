//! The one error type of this crate: which layer, file or argument, what was expected, what came.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tilewise_kernels as kernels;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done. Nothing was changed or written when this is returned, unless
/// the function says otherwise.
///
/// `{:?}` prints the same text as `{}`, because that is what a `main` shows that returns an error.
#[non_exhaustive]
pub enum Error {
    /// An argument does not fit; the subject begins with the layer's name where a layer found it.
    Argument(kernels::Error),
    /// A file could not be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file, or bytes of one, are not what they should be.
    Format {
        /// The file or a name for its bytes.
        file: String,
        /// The part that is wrong.
        what: String,
        /// What would have been accepted.
        expected: String,
        /// What came.
        got: String,
    },
    /// Training left the finite numbers.
    Diverged {
        /// The last step that was taken, counted from 1 over the whole training.
        step: u64,
        /// The first layer with a value that is not finite, or the loss.
        place: String,
        /// That value.
        got: f64,
    },
    /// A trial of a search should stop: others do better.
    Pruned {
        /// The step after which it was stopped.
        step: i64,
    },
    /// What a user's own code says, such as the objective of a search.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// An argument `what` that should have been `expected` and is `got`.
    pub fn argument(
        what: impl Into<String>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Self::Argument(kernels::Error::value(what, expected, got))
    }

    /// The same for shapes.
    pub fn shape(
        what: impl Into<String>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Self::Argument(kernels::Error::shape(what, expected, got))
    }

    /// The same with `context` in front of the subject of a wrong argument.
    #[must_use]
    pub fn within(self, context: impl fmt::Display) -> Self {
        match self {
            Self::Argument(error) => Self::Argument(error.within(context)),
            other => other,
        }
    }

    /// A failure of a user's own code.
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed { reason: reason.to_string() }
    }

    /// A file that could not be read or written.
    pub fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// A wrong part `what` of `file`.
    pub fn format(
        file: &str,
        what: impl Into<String>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Self::Format {
            file: file.to_owned(),
            what: what.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(error) => error.fmt(f),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Format { file, what, expected, got } => {
                write!(f, "{file}: {what}: expected {expected}, got {got}")
            }
            Self::Diverged { step, place, got } => {
                let expected = "finite values (a lower learning rate often helps)";
                write!(f, "after training step {step}: {place}: expected {expected}, got {got}")
            }
            Self::Pruned { step } => write!(f, "the trial was pruned after step {step}"),
            Self::Failed { reason } => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<kernels::Error> for Error {
    fn from(error: kernels::Error) -> Self {
        Self::Argument(error)
    }
}
