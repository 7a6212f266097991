//! Failure drills: what happens if a stage crashes is tried out, not believed.

use actix::{Handler, Message};

use super::audit::AuditActor;
use super::auth::AuthActor;
use super::credential::CredentialActor;
use super::dispatch::DispatchActor;
use super::policy::PolicyActor;
use super::telemetry::TelemetryActor;

/// Makes the stage that receives it panic. No listener can send it; drills and tests reach it through
/// [`super::Pipeline::drill`].
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drill;

macro_rules! drilled {
    ($($stage:ident),*) => {$(
        impl Handler<Drill> for $stage {
            type Result = ();

            fn handle(&mut self, _drill: Drill, _context: &mut Self::Context) {
                std::panic::panic_any(concat!("drill: ", stringify!($stage)));
            }
        }
    )*};
}

drilled!(
    AuthActor,
    PolicyActor,
    CredentialActor,
    DispatchActor,
    TelemetryActor,
    AuditActor
);
