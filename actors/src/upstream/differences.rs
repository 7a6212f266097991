//! What clients are told when the servers, or what they offer, are not what they were.

use std::sync::Arc;

use super::catalog::ListKind;
use super::view::{ChangedList, Federation, LinkView, ServerName, ServerView, UpstreamEvent};

/// What another configuration changes for clients. A server that comes or goes brings or takes its lists; another
/// policy may show others; with one server more or less, those that stay may be called otherwise.
pub(super) fn reconfigured(before: &Federation, after: &Federation) -> Vec<UpstreamEvent> {
    let renamed = (before.servers.len() > 1) != (after.servers.len() > 1);
    let judged = !Arc::ptr_eq(&before.settings.policy, &after.settings.policy);
    let mut lists: [Vec<ServerName>; 3] = Default::default();
    let gone = before.servers.iter();
    let gone = gone.filter(|view| after.server(&view.name).is_none());
    for view in after.servers.iter().chain(gone) {
        let nobody = || Arc::new(ServerView::starting(view.name.clone()));
        let of = |federation: &Federation| federation.server(&view.name).cloned();
        let (old, new) = (of(before), of(after));
        let events = match (old, new) {
            (Some(old), Some(new)) if renamed || judged => {
                let mut events = differences(&old, &nobody());
                events.extend(differences(&nobody(), &new));
                events
            }
            (old, new) => differences(&old.unwrap_or_else(nobody), &new.unwrap_or_else(nobody)),
        };
        for event in events {
            let (UpstreamEvent::ToolsChanged(server)
            | UpstreamEvent::PromptsChanged(server)
            | UpstreamEvent::ResourcesChanged(server)) = &event
            else {
                continue;
            };
            let kind = match event {
                UpstreamEvent::ToolsChanged(_) => ChangedList::Tools,
                UpstreamEvent::PromptsChanged(_) => ChangedList::Prompts,
                _ => ChangedList::Resources,
            };
            if let Some(servers) = lists.get_mut(kind as usize)
                && !servers.contains(server)
            {
                servers.push(server.clone());
            }
        }
    }
    let kinds = [
        ChangedList::Tools,
        ChangedList::Prompts,
        ChangedList::Resources,
    ];
    kinds
        .into_iter()
        .zip(lists)
        .filter(|(_, servers)| !servers.is_empty())
        .map(|(list, servers)| UpstreamEvent::Reconfigured {
            list,
            servers: servers.into(),
        })
        .collect()
}

/// What is different for clients. A face that comes or goes brings or takes its lists.
pub(super) fn differences(old: &ServerView, new: &ServerView) -> Vec<UpstreamEvent> {
    let differs = |kind: ListKind| {
        let differs = |old: Option<&Arc<LinkView>>, new: Option<&Arc<LinkView>>| match (old, new) {
            (None, None) => false,
            (Some(old), Some(new)) => {
                !Arc::ptr_eq(&old.catalog, &new.catalog)
                    && !old.catalog.list(kind).same_items(new.catalog.list(kind))
            }
            (Some(one), None) | (None, Some(one)) => !one.catalog.list(kind).items.is_empty(),
        };
        differs(old.modern.as_ref(), new.modern.as_ref())
            || differs(old.legacy.as_ref(), new.legacy.as_ref())
    };
    let mut events = Vec::new();
    if differs(ListKind::Tools) {
        events.push(UpstreamEvent::ToolsChanged(new.name.clone()));
    }
    if differs(ListKind::Prompts) {
        events.push(UpstreamEvent::PromptsChanged(new.name.clone()));
    }
    if differs(ListKind::Resources) || differs(ListKind::Templates) {
        events.push(UpstreamEvent::ResourcesChanged(new.name.clone()));
    }
    events
}
