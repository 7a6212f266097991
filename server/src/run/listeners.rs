//! Sockets: bound before anything is started, so that a wrong address is an error of the command line and not of a
//! running gateway; opened last, closed first.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, Request};
use actix_service::{ServiceFactoryExt, apply_fn_factory, map_config};
use actix_web::dev::{AppConfig, Server, Service, fn_service};
use actix_web::http::KeepAlive;
use actix_web::{App, web};
use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use weir_actors::pipeline::Metrics;
use weir_actors::settings::Hosts;
use weir_actors::supervisor::{ChildContext, ChildSpec};
use weir_actors::upstream::UpstreamBoard;

use crate::admin::{self, AdminState};
use crate::config::ListenAddress;
use crate::downstream::stdio::Stdio;
use crate::downstream::watch::{self, Conduct, Patience, Watch, Watched};
use crate::downstream::{self, Workers};

/// How long the first start waits for servers that are not ready yet.
const SETTLE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, give or take a second.
const HEAD_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a client may go on sending what is not read any more before its connection is closed.
const LINGER: Duration = Duration::from_secs(1);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How clients are served over sockets.
#[derive(Clone, Copy)]
pub(super) struct Served {
    /// Threads, each with a pipeline.
    pub(super) threads: usize,
    /// Whether clients of HTTP+SSE are served too.
    pub(super) sse: bool,
}

/// Binds an address; returns where it is, as port 0 takes any.
pub(super) fn bind(
    key: &str,
    flag: &str,
    address: ListenAddress,
) -> Result<(TcpListener, SocketAddr), String> {
    let bound = listen(address.0).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("stop the process that uses it or choose another with {flag}")
            }
            io::ErrorKind::PermissionDenied => format!("choose a port above 1023 with {flag}"),
            _ => format!("choose an address of this machine with {flag}"),
        };
        format!("{key}: {address} cannot be listened on: {error}; {remedy}")
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The listener that MCP clients connect to, as a supervised child. The socket outlives its restarts, so that
/// clients wait instead of being refused.
pub(super) fn clients(
    listener: TcpListener,
    workers: Workers,
    served: Served,
    board: UpstreamBoard,
    state: Arc<dyn AdminState>,
) -> ChildSpec {
    let listener = Arc::new(listener);
    ChildSpec::task("clients", move |context| {
        let (listener, workers, board, state) = (
            listener.clone(),
            workers.clone(),
            board.clone(),
            state.clone(),
        );
        async move {
            workers.forget().await;
            board.settled(SETTLE).await;
            let server = client_server(&listener, workers.clone(), served, state)?;
            serve(server, context, workers.serving(served.threads)).await
        }
    })
    .reports_ready()
    .start_timeout(SETTLE * 2)
    .heartbeat(None)
}

/// The client at the pipes of this process, as a supervised child. Its pipeline lives on the thread of the supervisors:
/// there is one client. What was said before a restart is not lost, but for the message that caused it.
pub(super) fn stdio(client: Arc<Stdio>, workers: Workers, board: UpstreamBoard) -> ChildSpec {
    ChildSpec::task("stdio", move |context| {
        let (client, workers, board) = (client.clone(), workers.clone(), board.clone());
        async move {
            workers.forget().await;
            board.settled(SETTLE).await;
            let face = Arc::new(workers.clone().enlist());
            workers.serving(1).await;
            context.ready();
            let served = async {
                client.serve(&face).await;
                // The process is about to stop.
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = served => {}
                () = context.stopping() => {}
            }
            Ok::<(), Infallible>(())
        }
    })
    .reports_ready()
    .start_timeout(SETTLE * 2)
    .heartbeat(None)
}

/// The admin listener, as a supervised child.
pub(super) fn operators(
    listener: TcpListener,
    hosts: Arc<ArcSwap<Hosts>>,
    state: Arc<dyn AdminState>,
) -> ChildSpec {
    let listener = Arc::new(listener);
    ChildSpec::task("admin", move |context| {
        let (listener, hosts, state) = (listener.clone(), hosts.clone(), state.clone());
        async move {
            serve(
                admin::server(listener.try_clone()?, hosts, state)?,
                context,
                std::future::ready(()),
            )
            .await
        }
    })
    .reports_ready()
    .heartbeat(None)
}

/// The built-in telemetry server, as a supervised child. The loopback has a port for it; if not, the gateway does
/// without.
pub(super) fn telemetry(metrics: Arc<Metrics>) -> Option<ChildSpec> {
    let bound = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = match bound {
        Ok(bound) => bound,
        Err(error) => {
            tracing::warn!(%error, "no telemetry server");
            return None;
        }
    };
    tracing::info!(
        url = format!("http://{address}/mcp"),
        "telemetry server listening"
    );
    let listener = Arc::new(listener);
    let child = ChildSpec::task("telemetry", move |context| {
        let (listener, metrics) = (listener.clone(), metrics.clone());
        async move {
            let server = crate::telemetry::server(listener.try_clone()?, metrics)?;
            serve(server, context, std::future::ready(())).await
        }
    });
    Some(child.reports_ready().heartbeat(None))
}

/// Runs a server until it ends or is asked to stop. It is ready when `serving` resolves.
async fn serve(
    server: Server,
    context: ChildContext,
    serving: impl Future<Output = ()>,
) -> io::Result<()> {
    let handle = server.handle();
    let running = actix_rt::spawn(server);
    let ready = async {
        serving.await;
        context.ready();
        context.stopping().await;
    };
    tokio::select! {
        ended = running => {
            ended.map_err(io::Error::other)??;
            Err(io::Error::other("the listener ended"))
        }
        () = ready => {
            handle.stop(false).await;
            Ok(())
        }
    }
}

fn client_server(
    listener: &TcpListener,
    workers: Workers,
    Served { threads, sse }: Served,
    state: Arc<dyn AdminState>,
) -> io::Result<Server> {
    let patience = {
        let board = workers.parts.board.clone();
        move || Patience {
            head: HEAD_TIMEOUT,
            // actix-http counts this too, but not while the rest of an unwanted body is awaited.
            idle: KEEP_ALIVE + HEAD_TIMEOUT,
            write: board.load().settings.limits.write_timeout.0,
        }
    };
    let metrics = workers.parts.metrics.clone();
    let counted = workers.clone();
    let server = move || {
        let workers = workers.clone();
        let app = App::new()
            .data_factory(move || {
                let workers = workers.clone();
                async move { Ok::<_, Infallible>(workers.enlist()) }
            })
            .configure(admin::probes(Arc::clone(&state)))
            .route("/mcp", web::route().to(downstream::all))
            .route("/servers/{name}/mcp", web::route().to(downstream::one))
            .configure(move |routes| {
                if sse {
                    downstream::sse::routes(routes);
                }
            })
            .route(
                downstream::metadata::ROUTE,
                web::get().to(downstream::metadata::show),
            )
            .default_service(web::route().to(downstream::elsewhere));
        let app = map_config(app, |()| AppConfig::default());
        let attended = apply_fn_factory(app, |request: Request, app| {
            let busy = request.conn_data::<Rc<Conduct>>().map(Conduct::asked);
            let answer = app.call(request);
            async move {
                answer
                    .await
                    .map(|answer| watch::attend(answer.into(), busy))
            }
        });
        let http = HttpService::build()
            .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
            .client_request_timeout(HEAD_TIMEOUT)
            .client_disconnect_timeout(LINGER)
            .h1_allow_half_closed(false)
            .on_connect_ext(Watched::introduce)
            .h1(attended);
        let watch = Watch::new(patience.clone(), metrics.clone());
        let workers = counted.clone();
        let accept = fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            let opened = workers.open(peer, &stream);
            std::future::ready(opened.map(|counts| (watch.over(stream, counts), peer)))
        });
        accept.and_then(http)
    };
    let server = Server::build()
        .workers(threads)
        .disable_signals()
        .shutdown_timeout(1)
        .listen("clients", listener.try_clone()?, server)?
        .run();
    Ok(server)
}
