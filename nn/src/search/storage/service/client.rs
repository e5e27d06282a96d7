//! Calls of the storage service, which are made again while it cannot be reached.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::error::{Error, Result};

/// How long a service that cannot be reached is called again before that is an error: enough to start
/// it anew.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one call may take: ten thousand trials take seconds.
const CALL: Duration = Duration::from_secs(20);
/// How long to connect, and how soon a connection that died in silence is noticed.
const CONNECT: Duration = Duration::from_secs(5);
/// The same for calls that fail inside the service, such as at a database that is locked or is started
/// anew.
const TROUBLE: Duration = Duration::from_secs(30);

/// A connection that comes back by itself.
#[derive(Debug, Clone)]
pub(super) struct Line {
    grpc: Grpc<Channel>,
    outages: Arc<AtomicU64>,
}

impl Line {
    /// One call. Whoever hears that the service cannot be reached counts that.
    pub(super) async fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let answer = async {
            let mut grpc = self.grpc.clone();
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let path = PathAndQuery::try_from(format!("/optuna.StorageService/{method}"));
            let path = path.map_err(|error| Status::internal(error.to_string()))?;
            grpc.unary(Request::new(request), path, ProstCodec::default()).await
        };
        let answer = answer.await;
        if answer.as_ref().is_err_and(is_outage) {
            self.outages.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer?.into_inner())
    }
}

/// Calls for threads that wait.
#[derive(Debug)]
pub(super) struct Client {
    url: String,
    line: Line,
    runtime: Runtime,
}

impl Client {
    /// A client of the service at `url`, such as `http://host:13000`. Connects with the first call.
    pub(super) fn new(url: &str) -> Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| {
            Error::argument("address of the storage service", "such as http://host:13000", error)
        };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| wrong(&error))?;
        if endpoint.uri().scheme_str() != Some("http") {
            return Err(wrong(&url));
        }
        let endpoint = endpoint
            .timeout(CALL)
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(CONNECT)
            .keep_alive_timeout(CONNECT);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| Error::io(Path::new(url), error))?;
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        let grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
        let line = Line { grpc, outages: Arc::default() };
        Ok(Self { url: url.to_owned(), line, runtime })
    }

    /// How often the service could not be reached, by whomever.
    pub(super) fn outages(&self) -> u64 {
        self.line.outages.load(Ordering::Relaxed)
    }

    /// Runs a task for as long as this client lives.
    pub(super) fn spawn<F>(&self, task: impl FnOnce(Line) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.runtime.spawn(task(self.line.clone()));
    }

    /// A call that is made until it is answered.
    pub(super) fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        self.call_unless(method, request, || None)
    }

    /// The same. Before it is made again, `done` may find that it was carried out, though nobody said
    /// so, and what its answer would have been.
    pub(super) fn call_unless<Q, A>(
        &self,
        method: &'static str,
        request: Q,
        mut done: impl FnMut() -> Option<A>,
    ) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let (mut tried, mut pause) = (Duration::ZERO, Duration::from_millis(25));
        loop {
            let begin = Instant::now();
            let answer = self.runtime.block_on(self.line.call(method, request.clone()));
            let patience = match &answer {
                Err(status) if is_outage(status) => PATIENCE,
                Err(status) if status.code() == Code::Unknown => TROUBLE,
                _ => return answer,
            };
            // Where this process was stopped for a while, or its machine, it did not try meanwhile.
            tried += begin.elapsed().min(CALL) + pause;
            if tried > patience {
                return answer;
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_secs(1));
            if let Some(answer) = done() {
                return Ok(answer);
            }
        }
    }

    /// What went wrong, as an error of this crate.
    pub(super) fn error(&self, status: &Status) -> Error {
        if status.code() == Code::InvalidArgument {
            return Error::argument("storage service: value", "one it takes", status.message());
        }
        let text = format!("storage service: {:?}: {}", status.code(), status.message());
        Error::io(Path::new(&self.url), std::io::Error::other(text))
    }

    /// Something that came and is not what it should be.
    pub(super) fn wrong(&self, what: &str, got: impl std::fmt::Display) -> Error {
        Error::format(&self.url, what, "as Optuna sends it", got)
    }
}

/// Not reached, or not in time: the call may have been carried out or not.
fn is_outage(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
}
