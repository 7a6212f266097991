//! Names that lead where they should not.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::*;

/// A name service in the hands of somebody else: each lookup gives the next list, the last one for ever.
#[derive(Clone)]
struct Hostile(Arc<Mutex<Vec<Vec<IpAddr>>>>);

impl Lookup for Hostile {
    fn addresses(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        if answers.len() > 1 {
            return Ok(answers.remove(0));
        }
        Ok(answers[0].clone())
    }
}

fn client_of(answers: &[&[&str]]) -> HttpClient {
    let read = |list: &&[&str]| {
        list.iter()
            .map(|address| address.parse().unwrap())
            .collect()
    };
    let answers = answers.iter().map(read).collect();
    HttpClient::new(HttpClientConfig {
        names: Names::from(Hostile(Arc::new(Mutex::new(answers)))),
        connect_timeout: Duration::from_millis(500),
        ..HttpClientConfig::default()
    })
}

/// `host` at the port of the listener.
fn named(host: &str, target: &HttpTarget) -> HttpTarget {
    HttpTarget::parse(&format!("http://{host}:{}/mcp", target.port())).unwrap()
}

#[test]
fn a_name_does_not_lead_inside() {
    on_one_thread(async {
        let (target, seen) = serve(vec![ok("inside")]).await;
        let inside = [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "fe80::1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "fc00::1",
        ];
        for address in inside {
            let client = client_of(&[&[address]]);
            for host in ["tools.example.com", "tools.example.com.", "a.b.c.d.example"] {
                let refused = (HttpErrorKind::Refused, false);
                assert_eq!(
                    fails(&client, &named(host, &target)).await,
                    refused,
                    "{address}"
                );
            }
        }
        // Names of internal networks lead there, and no further.
        for address in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "0.0.0.0",
            "fd00:ec2::254",
        ] {
            let client = client_of(&[&[address]]);
            for host in [
                "time-server",
                "metadata.google.internal",
                "x.svc.cluster.local",
            ] {
                let refused = (HttpErrorKind::Refused, false);
                assert_eq!(
                    fails(&client, &named(host, &target)).await,
                    refused,
                    "{address}"
                );
            }
            let public = named("tools.example.com", &target).under(AddressRule::Private);
            assert_eq!(
                fails(&client, &public).await,
                (HttpErrorKind::Refused, false)
            );
        }
        let client = client_of(&[&["10.0.0.1"]]);
        let local = fails(&client, &named("localhost", &target)).await;
        assert_eq!(local, (HttpErrorKind::Refused, false));
        assert_eq!(seen.requests(), [0usize; 0], "nobody connected");

        // What the operator wrote is meant.
        let client = client_of(&[&["127.0.0.1"]]);
        for meant in [
            named("localhost", &target),
            named("127.0.0.1", &target),
            named("tools.example.com", &target).under(AddressRule::Any),
        ] {
            assert_eq!(post_and_read(&client, &meant).await.unwrap(), "inside");
        }
    });
}

#[test]
fn what_was_checked_is_what_is_connected_to() {
    on_one_thread(async {
        let (target, seen) = serve(vec![ok("inside")]).await;
        // Of a mixed answer only what is allowed is tried, or the time would not suffice.
        let mixed: &[&str] = &["10.255.255.1", "169.254.169.254", "127.0.0.1"];
        let client = client_of(&[mixed]);
        let local = named("localhost", &target);
        assert_eq!(post_and_read(&client, &local).await.unwrap(), "inside");
        assert_eq!(seen.requests(), [1]);

        // There is one lookup for check and connection: the second answer, which would be refused, is never asked for.
        let answers = Hostile(Arc::new(Mutex::new(vec![
            vec![IpAddr::from([127, 0, 0, 1])],
            vec![IpAddr::from([10, 0, 0, 1])],
        ])));
        let client = HttpClient::new(HttpClientConfig {
            names: Names::from(answers.clone()),
            ..HttpClientConfig::default()
        });
        assert_eq!(post_and_read(&client, &local).await.unwrap(), "inside");
        assert_eq!(answers.0.lock().unwrap().len(), 1, "asked once");
    });
}

#[test]
fn a_redirect_is_not_followed() {
    on_one_thread(async {
        let (inside, seen) = serve(vec![ok("inside")]).await;
        let redirect = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {inside}\r\ncontent-length: 0\r\n\r\n"
        );
        let (target, _) = serve(vec![answer(&redirect)]).await;
        assert_eq!(post(&client(), &target).await.unwrap().status, 307);
        assert_eq!(seen.requests(), [0usize; 0]);
    });
}
