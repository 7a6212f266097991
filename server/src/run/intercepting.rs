//! The plugins that see what passes.

use std::sync::Arc;

use weir_actors::intercept::{Interceptor, Interceptors};
use weir_actors::pipeline::Metrics;
use weir_actors::plugin::{Loader, Plugin, Seat};

/// The interceptors among the plugins; nothing if there are none.
pub(super) fn interceptors(
    plugins: &[Plugin],
    loader: &Loader,
    metrics: &Metrics,
) -> Option<Arc<Interceptors>> {
    let interceptors = plugins.iter().filter_map(|plugin| {
        let config = plugin.entry.interceptor.clone()?;
        let seat = Seat::new(loader.clone(), plugin.name.as_str());
        let counts = metrics.interceptors.of(&plugin.name);
        Some(Interceptor::new(&plugin.name, seat, config, counts))
    });
    let interceptors = Interceptors::new(interceptors);
    (!interceptors.is_empty()).then(|| Arc::new(interceptors))
}
