//! Peers in processes of their own.
//!
//! A native library's thread pool spins for a while after a call, and a Python framework cannot live in
//! here at all. Such a peer is a *worker*: a child process that owns its buffers and is asked for one
//! thing at a time, by a line of JSON on its standard input, answered by a line on its standard output.
//! Between its turns it is stopped, so that nothing of it runs while others are timed.
//!
//! The id of a case is all that a worker needs to build the same problem. It checks its own result before
//! it says that it is ready. Any program that speaks this protocol can be a peer:
//!
//! ```text
//! {"ask":"hello"}                               {"name":"jax","version":"0.8.1","variants":["jax"]}
//! {"ask":"prepare","case":"adam/f32/1000000","variant":"jax"}     {"ok":true}
//! {"ask":"time","calls":32}                     {"seconds":0.0123}
//! {"ask":"drop"}                                {"ok":true}
//! ```
//!
//! `{"absent":"why"}` says that it does not do such cases, `{"error":"why"}` that something went wrong. A
//! time is that of all the calls together, after untimed ones that take [`WARM_UP`], or one. The end of the
//! input ends it.

mod process;
mod serve;

pub use process::{Order, Worker};
pub use serve::serve;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Calls for that long are not timed: whoever has been stopped finds cold caches and a low clock, and the
/// first milliseconds of a framework measured a third too slow. Where workers take part it holds for all.
pub const WARM_UP: Duration = Duration::from_millis(10);

/// The environment variable that tells a worker how many threads it may use.
pub const THREADS_VARIABLE: &str = "TILEWISE_WORKER_THREADS";

/// What a worker is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Request {
    /// Who are you?
    Hello,
    /// Build a case and check your result.
    Prepare {
        /// `<op>/<dtype>/<shape>`
        case: String,
        /// Which of your ways to do it.
        variant: String,
    },
    /// Warm up, then make so many timed calls.
    Time {
        /// The timed ones.
        calls: usize,
    },
    /// Free the case's memory.
    Drop,
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// The library.
        name: String,
        /// Its version.
        version: String,
        /// The ways in which it can do things, as implementations are called in ids.
        variants: Vec<String>,
    },
    /// To [`Request::Time`].
    Time {
        /// Of all calls together.
        seconds: f64,
    },
    /// It does not do such cases.
    Absent {
        /// Why.
        absent: String,
    },
    /// Something went wrong.
    Error {
        /// What.
        error: String,
    },
    /// Done.
    Done {
        /// True.
        ok: bool,
    },
}
