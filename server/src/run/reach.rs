//! How plugins are reached that are processes of their own.

use std::ffi::OsString;

use weir_actors::plugin::{SidecarConfig, SubprocessConfig};
use weir_actors::process::Program;
use weir_actors::sandbox::Sandbox;
use weir_actors::transport::{SidecarTransport, StdioTransport, SubprocessTransport};
use weir_actors::upstream::http::{AddressRule, TlsTrust};

use super::plugged::Means;

/// The largest file of certificates, in bytes.
const CA_FILE_MAX: usize = 1024 * 1024;

// === impl Means ===

impl Means {
    /// A plugin that somebody else runs.
    ///
    /// # Errors
    /// A text that names the key which cannot be carried out, and never the value of a header.
    pub(super) fn sidecar(&self, config: &SidecarConfig) -> Result<SidecarTransport, String> {
        let mut http = self.http.clone();
        if let Some(tls) = &config.tls {
            let file = &tls.ca_file;
            let failed = |error: &dyn std::fmt::Display| {
                format!("sidecar.tls.ca_file: {}: {error}", file.display())
            };
            let pem = self.files.read(file, CA_FILE_MAX);
            let pem = pem.map_err(|error| failed(&error))?;
            let trust = TlsTrust::only(&pem).map_err(|error| failed(&error))?;
            http.tls = Some(trust);
        }
        let transport = SidecarTransport::new(&config.url, &config.headers, http);
        let transport = transport.map_err(|error| format!("sidecar: {error}"))?;
        Ok(match config.allow_remote {
            // The operator says that it is elsewhere: on the network of the pod, mostly.
            true => transport.under(AddressRule::Private),
            false => transport,
        })
    }

    /// A plugin that is started, and answers HTTP.
    pub(super) fn subprocess(
        &self,
        name: &str,
        config: &SubprocessConfig,
        sandbox: Sandbox,
    ) -> SubprocessTransport {
        SubprocessTransport::new(program(name, config, sandbox), self.http.clone())
    }

    /// A plugin that is started, and answers on its standard output.
    pub(super) fn stdio(name: &str, config: &SubprocessConfig, sandbox: Sandbox) -> StdioTransport {
        StdioTransport::new(program(name, config, sandbox))
    }
}

fn program(name: &str, config: &SubprocessConfig, sandbox: Sandbox) -> Program {
    let mut program = Program::new(name, config.exec.as_str(), sandbox);
    program.args = config.args.iter().map(OsString::from).collect();
    program.env = config
        .env
        .iter()
        .map(|(name, value)| (name.into(), value.expose().into()))
        .collect();
    program.workdir = config.workdir.as_ref().map(Into::into);
    program
}
