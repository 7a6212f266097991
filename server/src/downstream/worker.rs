//! Every worker thread owns a pipeline of its own, kept by the supervisor `pipelines`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_rt::{Arbiter, ArbiterHandle};
use actix_web::HttpResponse;
use rustix::net::{SendFlags, send};
use tokio::net::TcpStream;
use weir_actors::pipeline::{Door, Meter, Pipeline, PipelineParts, Refusal};
use weir_actors::supervisor::{ChildSpec, ChildState, GroupConfig, Spawner, SupervisorHandle};
use weir_actors::upstream::UpstreamBoard;

use super::connections::Counts;
use super::{Admission, Connections, Intake, SseTable, write};

/// How often it is looked whether the pipelines serve, at the start.
const POLL: Duration = Duration::from_millis(2);

/// Hears of every pipeline that was made, with the number of its worker; drills use it to crash stages.
pub type OnPipeline = Arc<dyn Fn(usize, &Pipeline) + Send + Sync>;

/// Gives workers their pipelines.
#[derive(Clone)]
pub struct Workers {
    /// The supervisor that keeps the pipelines.
    pub pipelines: SupervisorHandle,
    /// How a pipeline's stages are kept.
    pub group: GroupConfig,
    /// What all pipelines share.
    pub parts: PipelineParts,
    /// What a request needs first.
    pub admission: Admission,
    /// The connections of clients.
    pub connections: Connections,
    /// The bodies that are on their way in.
    pub intake: Intake,
    /// The streams of HTTP+SSE that are open.
    pub sse: SseTable,
    /// Numbers the workers.
    pub started: Arc<AtomicUsize>,
    /// Hears of every pipeline that was made; for drills.
    pub made: OnPipeline,
}

/// What a worker's handlers need.
pub struct Face {
    pub(super) door: Door,
    pub(super) admission: Admission,
    pub(super) intake: Intake,
    pub(super) board: UpstreamBoard,
    pub(super) meter: Arc<Meter>,
    pub(super) sse: SseTable,
}

/// Runs work on a worker's thread.
struct OnArbiter(ArbiterHandle);

impl Spawner for OnArbiter {
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.spawn_fn(work);
    }
}

// === impl Workers ===

impl Workers {
    /// Counts a connection that was just made. One too many is told so, as far as that goes without waiting.
    pub(crate) fn open(
        &self,
        peer: Option<SocketAddr>,
        stream: &TcpStream,
    ) -> Result<Counts, DispatchError> {
        let limits = self.parts.board.load().settings.limits.clone();
        let peer = peer.map(|peer| peer.ip());
        self.connections.open(peer, &limits).map_err(|refusal| {
            // Straight to the system: the runtime does not know yet that the stream can be written to.
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _told_or_not = send(stream, &write::on_the_wire(refusal.clone()), flags);
            self.admission.count(&self.parts.metrics, refusal, peer);
            DispatchError::Io(io::ErrorKind::ConnectionRefused.into())
        })
    }

    /// Forgets the pipelines of threads that ended with an earlier listener.
    pub async fn forget(&self) {
        for pipeline in self.pipelines.which_children() {
            let _gone = self.pipelines.delete_child(&pipeline).await;
        }
    }

    /// Resolves when this many pipelines serve.
    pub async fn serving(&self, threads: usize) {
        while self
            .pipelines
            .snapshot()
            .in_state(ChildState::Running)
            .count()
            < threads
        {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Makes the pipeline of the thread that this is called on. It does not wait until the pipeline serves: the thread
    /// of the supervisors is waiting for this one.
    pub fn enlist(self) -> Face {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let pipeline = Pipeline::default();
        let group = pipeline.group(format!("worker-{number}"), &self.parts, &self.group);
        let child = ChildSpec::supervisor(group).on(Arc::new(OnArbiter(Arbiter::current())));
        let pipelines = self.pipelines;
        actix_rt::spawn(async move {
            if let Err(error) = pipelines.start_child(child).await {
                tracing::error!(%error, worker = number, "worker has no pipeline, its requests are answered with 503");
            }
        });
        (self.made)(number, &pipeline);
        Face {
            door: pipeline.door(),
            admission: self.admission,
            intake: self.intake,
            board: self.parts.board.clone(),
            meter: self.parts.metrics.meter(number),
            sse: self.sse,
        }
    }
}

// === impl Face ===

impl Face {
    /// Refuses a request of which nothing was read. Such refusals come in floods: they are counted, not recorded one by
    /// one.
    pub(super) fn shed(&self, refusal: Refusal, peer: Option<IpAddr>) -> HttpResponse {
        let metrics = self.meter.metrics();
        self.admission.count(metrics, refusal.clone(), peer);
        write::refused_and_closed(refusal)
    }
}
