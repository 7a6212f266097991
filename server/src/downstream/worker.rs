//! Every worker thread owns a pipeline of its own, kept by the supervisor `pipelines`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_rt::{Arbiter, ArbiterHandle};
use weir_actors::pipeline::{Door, Meter, Pipeline, PipelineParts};
use weir_actors::supervisor::{ChildSpec, ChildState, GroupConfig, Spawner, SupervisorHandle};
use weir_actors::upstream::UpstreamBoard;

use super::{Admission, Intake, SseTable};

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
