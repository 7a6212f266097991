//! nginx as a plain reverse proxy, the yardstick: it forwards bytes, keeps connections open on both sides, and logs nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::NGINX;
use super::contestant::Contestant;
use crate::stand::{Directory, Started, Upstream, free_port};

/// Where distributions put it when it is not in `PATH`.
const OTHER_PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];

/// Starts nginx in front of the server.
pub(super) fn start(
    program: &str,
    upstream: &Upstream,
    directory: &Directory,
) -> Result<Contestant, String> {
    let program = find(program)?;
    let port = free_port()?;
    let folder = directory.path().display().to_string();
    let text = configuration(&folder, port, &upstream.target.authority);
    let file = directory.write("nginx.conf", &text)?;
    let mut command = Command::new(program);
    command.args(["-e", "stderr", "-p"]).arg(&folder);
    command.arg("-c").arg(file);
    let process = Started::spawn(NGINX, &mut command, directory.path())?;
    let target = format!("http://127.0.0.1:{port}{}", upstream.target.path).parse()?;
    let description = "plain reverse proxy with keep-alive on both sides, no access log";
    Ok(Contestant::program(
        NGINX,
        description.to_owned(),
        target,
        process,
    ))
}

/// What it says when asked for its version.
pub(super) fn version(program: &str) -> Result<String, String> {
    let output = Command::new(find(program)?).arg("-v").output();
    let output = output.map_err(|error| format!("nginx: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(said.trim().trim_start_matches("nginx version: ").to_owned())
}

fn find(program: &str) -> Result<PathBuf, String> {
    if program.contains('/') {
        return Ok(program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = OTHER_PLACES.iter().map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(others)
        .map(|folder| folder.join(program))
        .find(|candidate| Path::is_file(candidate))
        .ok_or_else(|| {
            format!(
                "{program} is not installed: install it (`apt-get install nginx-light`), name it with --nginx, or leave it out with --without nginx"
            )
        })
}

/// One worker for each core, as weir has.
fn configuration(folder: &str, port: u16, upstream: &str) -> String {
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {folder}/nginx-{kind};\n"))
        .concat();
    format!(
        "{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
{temporary}
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  upstream echo {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    client_max_body_size 4m;
    location / {{
      proxy_pass http://echo;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
    }}
  }}
}}
"
    )
}
