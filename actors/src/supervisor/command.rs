//! What a running supervisor is asked to do.

use std::future::ready;
use std::sync::Arc;

use actix::{Context, Handler, Message, ResponseFuture};

use super::actor::Supervisor;
use super::child::ChildSpec;
use super::handle::CommandError;
use super::strategy::{Action, Group, Key};

/// Carries out a command.
pub(crate) struct Order(pub(crate) Command);

pub(crate) enum Command {
    Start(Box<ChildSpec>),
    Terminate(Arc<str>),
    Restart(Arc<str>),
    Delete(Arc<str>),
}

type Outcome = Result<(), CommandError>;

impl Message for Order {
    type Result = Outcome;
}

impl Handler<Order> for Supervisor {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, order: Order, actix: &mut Context<Self>) -> Self::Result {
        let outcome = match order.0 {
            Command::Start(child) => self.add(*child, actix),
            Command::Restart(name) => self.known(name).map(|key| {
                self.decide(actix, |group, now| group.restart(key, now));
            }),
            Command::Terminate(name) => return self.bring_down(name, Group::terminate, actix),
            Command::Delete(name) => return self.bring_down(name, Group::delete, actix),
        };
        Box::pin(ready(outcome))
    }
}

impl Supervisor {
    fn add(&mut self, child: ChildSpec, actix: &mut Context<Self>) -> Outcome {
        if self.group.is_ending() {
            return Err(CommandError::ShuttingDown);
        }
        if self
            .members
            .iter()
            .any(|member| member.spec.name == child.name)
        {
            return Err(CommandError::Duplicate(child.name));
        }
        if let Some(nested) = &child.nested {
            nested.validate().map_err(CommandError::Invalid)?;
        }
        let child = self.spec.resolve(child).map_err(CommandError::Invalid)?;
        let policy = child.policy.clone();
        let key = self.admit(child);
        self.decide(actix, |group, now| group.add(key, policy, now));
        Ok(())
    }

    /// Carries out what ends a child, and waits until it has.
    fn bring_down(
        &mut self,
        name: Arc<str>,
        how: fn(&mut Group, Key, std::time::Duration) -> Vec<Action>,
        actix: &mut Context<Self>,
    ) -> ResponseFuture<Outcome> {
        let key = match self.known(name) {
            Ok(key) => key,
            Err(unknown) => return Box::pin(ready(Err(unknown))),
        };
        let gone = self.member_mut(key).and_then(|member| member.gone());
        self.decide(actix, |group, now| how(group, key, now));
        Box::pin(async move {
            if let Some(gone) = gone {
                // Dropped with the supervisor, which takes the child with it.
                gone.await.map_err(|_| CommandError::NotRunning)?;
            }
            Ok(())
        })
    }

    fn known(&self, name: Arc<str>) -> Result<Key, CommandError> {
        let member = self.members.iter().find(|member| member.spec.name == name);
        member
            .map(|member| member.key)
            .ok_or(CommandError::Unknown(name))
    }
}
