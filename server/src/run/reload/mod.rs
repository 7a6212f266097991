//! The configuration, read again while the gateway runs.
//!
//! Whoever wants that holds a [`ReloadHandle`]; one task, the child `reloader` of the tree, does it, one reading after
//! the other: wishes that come while it is at work are fulfilled together by the next. The [`keeper`] does one
//! reading: the whole file is checked before anything is touched, [`plan`] says what is different, new and changed
//! servers are started beside the old ones, and then servers and settings change places in one store. What was
//! replaced is left to [`retire`]. The [`report`] says what happened. The [`watch`] looks at files.

mod handle;
mod keeper;
mod plan;
mod report;
mod retire;
mod watch;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use weir_actors::supervisor::{ChildContext, ChildSpec};

pub(crate) use handle::Origin;
pub use handle::ReloadHandle;
pub(super) use keeper::{Adjust, Keeper, KeeperParts};
pub use report::Report;

/// Wishes that may wait. More than one are one.
const ASKS: usize = 64;

/// Longest wait for new servers and keys before the change is made with what is there.
const SETTLE: Duration = Duration::from_secs(10);

/// A wish for a reload.
struct Ask {
    origin: Origin,
    answer: Option<oneshot::Sender<Arc<Report>>>,
}

/// Makes a handle, and the other end for [`child`].
pub(super) fn handle() -> (ReloadHandle, Asks) {
    let (asks, asked) = mpsc::channel(ASKS);
    (ReloadHandle::new(asks), Asks(asked))
}

/// What is asked of the reloader.
pub(super) struct Asks(mpsc::Receiver<Ask>);

/// The child that reloads. A restart loses the reading under way, which is then done again by the next wish: what it
/// had started is stopped, and nothing of it had been put in place.
pub(super) fn child(keeper: Keeper, asks: Asks, handle: ReloadHandle) -> ChildSpec {
    let state = Arc::new(Mutex::new((keeper, asks)));
    ChildSpec::task("reloader", move |context| {
        let (state, handle) = (state.clone(), handle.clone());
        async move {
            let mut state = state.lock().await;
            let (keeper, asks) = &mut *state;
            let watching = watch::start(keeper.watched(), handle.clone());
            tokio::select! {
                () = serve(keeper, asks, &handle, &context) => {}
                () = context.stopping() => {}
            }
            drop(watching);
            Ok::<(), Infallible>(())
        }
    })
    .heartbeat(None)
}

async fn serve(
    keeper: &mut Keeper,
    Asks(asks): &mut Asks,
    handle: &ReloadHandle,
    context: &ChildContext,
) {
    while let Some(first) = asks.recv().await {
        let mut answers: Vec<_> = first.answer.into_iter().collect();
        while let Ok(ask) = asks.try_recv() {
            answers.extend(ask.answer);
        }
        let report = Arc::new(keeper.reload(first.origin).await);
        handle.publish(report.clone());
        for answer in answers {
            let _gone = answer.send(report.clone());
        }
        context.progress();
    }
}
