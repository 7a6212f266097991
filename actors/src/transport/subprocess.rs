//! Plugins that the gateway starts, and that answer HTTP on the loopback.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::AsyncReadExt;

use super::child::{GRACE, PluginChild};
use super::drain::drain;
use super::http_call::HttpCall;
use super::port_line::{self, PATIENCE};
use crate::plugin::{
    BoxFuture, Call, CallError, ConnectError, PluginClient, PluginTransport, Said,
};
use crate::process::{Program, Started};
use crate::upstream::http::HttpClientConfig;

/// How long a process that closed its output has to end, so that the error can say how.
const EXIT_PATIENCE: Duration = Duration::from_millis(100);

/// Starts a program for every connection.
///
/// Its first line on standard output is `PORT=<n>`; from then on it is asked on that port of 127.0.0.1, and of no other
/// host whatever it listens on. All else that it prints goes to the log, line by line. Closing ends the whole process
/// group: SIGTERM, 5 s, SIGKILL.
#[derive(Clone)]
pub struct SubprocessTransport {
    program: Program,
    config: HttpClientConfig,
    patience: Duration,
    grace: Duration,
}

struct SubprocessClient {
    http: HttpCall,
    child: PluginChild,
}

// === impl SubprocessTransport ===

impl SubprocessTransport {
    /// A transport that runs `program`. Of `config` the limits of connections are used.
    pub fn new(program: Program, config: HttpClientConfig) -> Self {
        Self {
            program,
            config,
            patience: PATIENCE,
            grace: GRACE,
        }
    }

    /// Sets how long it may take to say its port. Default 10 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how long it has to obey SIGTERM. Default 5 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    async fn start(&self) -> Result<SubprocessClient, ConnectError> {
        let failed = |error: &dyn std::fmt::Display| ConnectError(error.to_string());
        let started = self.program.start().await;
        let Started {
            stdin,
            mut stdout,
            stderr,
            group,
        } = started.map_err(|error| failed(&error))?;
        let name = self.program.name.clone();
        // From here on whoever gives up ends the process.
        let child = PluginChild::watch(name.clone(), group, Some(stdin), self.grace);
        tokio::spawn(drain(stderr, name.clone(), "stderr"));
        let (port, rest) = match port_line::read(&mut stdout, self.patience).await {
            Ok(found) => found,
            Err(error) => {
                let exit = tokio::time::timeout(EXIT_PATIENCE, child.ended()).await;
                tokio::spawn(drain(stdout, name, "stdout"));
                child.close().await;
                return Err(match exit {
                    Ok(how) => ConnectError(format!("{error}: it ended with {how}")),
                    Err(_) => failed(&error),
                });
            }
        };
        let rest = std::io::Cursor::new(rest).chain(stdout);
        tokio::spawn(drain(rest, name, "stdout"));
        let address = format!("http://127.0.0.1:{port}");
        let http = HttpCall::new(&address, HeaderMap::new(), self.config.clone());
        let http = http.map_err(|error| failed(&error))?;
        Ok(SubprocessClient { http, child })
    }
}

impl PluginTransport for SubprocessTransport {
    fn kind(&self) -> &'static str {
        "subprocess"
    }

    fn connect(&self) -> BoxFuture<'_, Result<Arc<dyn PluginClient>, ConnectError>> {
        Box::pin(async move {
            let client: Arc<dyn PluginClient> = Arc::new(self.start().await?);
            Ok(client)
        })
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.program)
    }
}

// === impl SubprocessClient ===

impl PluginClient for SubprocessClient {
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Bytes, CallError>> {
        Box::pin(async move {
            // The port of a process that is gone may be somebody else's.
            match self.child.last_words() {
                Some(how) => Err(CallError::Unreachable(format!("it ended with {how}"))),
                None => self.http.call(call).await,
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), CallError>> {
        self.http.close();
        Box::pin(async move {
            self.child.close().await;
            Ok(())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.http.health())
    }

    fn ended(&self) -> BoxFuture<'_, String> {
        Box::pin(async move { self.child.ended().await.to_string() })
    }

    fn version(&self) -> String {
        self.http.version()
    }

    fn said(&self) -> Said {
        self.http.said()
    }
}

/// The files that a process is made of: its program, if that is named by a path, and arguments that name files.
pub(super) fn files(program: &Program) -> Vec<PathBuf> {
    let place = program.workdir.clone().unwrap_or_default();
    let exec = PathBuf::from(&program.exec);
    let exec = Some(exec).filter(|exec| exec.components().count() > 1);
    let arguments = program.args.iter().map(|argument| place.join(argument));
    let named = exec.into_iter().chain(arguments);
    named.filter(|path| path.is_file()).collect()
}
