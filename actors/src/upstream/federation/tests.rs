use proptest::prelude::*;
use weir_plugin_protocol::mcp::Version;

use super::*;
use crate::upstream::http::HttpTarget;
use crate::upstream::route::{Route, RouteError};
use crate::upstream::view::{Catalog, Hello, Item, Link, List};

/// A server in the making.
pub(in crate::upstream) struct Fake {
    name: &'static str,
    state: UpstreamState,
    eras: Vec<Era>,
    capabilities: &'static str,
    catalog: Catalog,
}

pub(in crate::upstream) fn fake(name: &'static str) -> Fake {
    Fake {
        name,
        state: UpstreamState::Ready,
        eras: vec![Era::Modern, Era::Legacy],
        capabilities: r#"{"tools":{}}"#,
        catalog: Catalog::default(),
    }
}

impl Fake {
    pub(in crate::upstream) fn tools(self, names: &[&str]) -> Self {
        self.items(ListKind::Tools, names)
    }

    pub(in crate::upstream) fn items(mut self, kind: ListKind, keys: &[&str]) -> Self {
        let items = keys.iter().map(|key| Item {
            key: (*key).to_owned(),
            raw: format!(r#"{{"z":1.0, "{}" : "{key}" ,"x":[1e300]}}"#, kind.key()).into(),
        });
        let list = List {
            items: items.collect(),
            fetched: Some(Instant::now()),
            announced: true,
            ..List::default()
        };
        self.catalog.put(
            kind,
            crate::upstream::catalog::ReadList {
                list,
                ..Default::default()
            },
        );
        self
    }

    fn only(mut self, era: Era) -> Self {
        self.eras = vec![era];
        self
    }

    fn capabilities(mut self, capabilities: &'static str) -> Self {
        self.capabilities = capabilities;
        self
    }

    fn state(mut self, state: UpstreamState) -> Self {
        self.state = state;
        self
    }

    pub(in crate::upstream) fn view(self) -> ServerView {
        let hello = Arc::new(Hello {
            version: Version::V2025_11_25,
            capabilities: Bytes::from_static(self.capabilities.as_bytes()),
            server_info: Some(Bytes::from_static(br#"{"name":"own"}"#)),
            instructions: None,
        });
        let catalog = Arc::new(self.catalog);
        let face = |era| {
            let target = HttpTarget::parse("http://127.0.0.1:1/mcp").unwrap();
            let face = LinkView {
                era,
                link: Link::Http(Arc::new(target)),
                hello: hello.clone(),
                catalog: catalog.clone(),
            };
            self.eras.contains(&era).then(|| Arc::new(face))
        };
        ServerView {
            state: self.state,
            modern: face(Era::Modern),
            legacy: face(Era::Legacy),
            ..ServerView::starting(ServerName::new(self.name).unwrap())
        }
    }
}

fn federation(fakes: Vec<Fake>) -> Federation {
    Federation::new(
        fakes
            .into_iter()
            .map(|fake| Arc::new(fake.view()))
            .collect(),
    )
}

fn texts(answer: &ListAnswer) -> Vec<String> {
    answer
        .items
        .iter()
        .map(|item| String::from_utf8(item.to_vec()).unwrap())
        .collect()
}

fn place(route: Result<Route, RouteError>) -> Result<(String, String), RouteError> {
    route.map(|route| (route.server.name.to_string(), route.own_name))
}

fn at(server: &str, own: &str) -> Result<(String, String), RouteError> {
    Ok((server.to_owned(), own.to_owned()))
}

fn name(text: &str) -> ServerName {
    ServerName::new(text).unwrap()
}

const ALL: Endpoint = Endpoint::All;

#[test]
fn one_server_keeps_its_names() {
    let federation = federation(vec![fake("only").tools(&["echo"])]);
    let listed = federation.list(&ALL, Era::Modern, ListKind::Tools, |_, _, _| true);
    assert_eq!(
        texts(&listed),
        [r#"{"z":1.0, "name" : "echo" ,"x":[1e300]}"#]
    );
    assert_eq!(
        place(federation.route_tool(&ALL, Era::Modern, "echo")),
        at("only", "echo")
    );
    assert_eq!(
        place(federation.route_tool(&ALL, Era::Modern, "only__echo")),
        Err(RouteError::Unknown)
    );
}

#[test]
fn several_servers_are_told_apart_and_nothing_else_changes() {
    let federation = federation(vec![
        fake("b").tools(&["echo", "b"]),
        fake("a").tools(&["echo", "__x"]),
    ]);
    let listed = federation.list(&ALL, Era::Legacy, ListKind::Tools, |_, _, _| true);
    let item = |name: &str| format!(r#"{{"z":1.0, "name" : "{name}" ,"x":[1e300]}}"#);
    assert_eq!(
        texts(&listed),
        [
            item("b__echo"),
            item("b__b"),
            item("a__echo"),
            item("a____x")
        ]
    );
    assert_eq!(
        place(federation.route_tool(&ALL, Era::Legacy, "a____x")),
        at("a", "__x")
    );
    assert_eq!(
        place(federation.route_tool(&ALL, Era::Legacy, "a__echo")),
        at("a", "echo")
    );
    for unknown in ["echo", "a__nothing", "c__echo", "a_echo", ""] {
        assert_eq!(
            place(federation.route_tool(&ALL, Era::Legacy, unknown)),
            Err(RouteError::Unknown),
            "{unknown}"
        );
    }
    let one = Endpoint::One(name("a"));
    assert_eq!(
        texts(&federation.list(&one, Era::Legacy, ListKind::Tools, |_, _, _| true)),
        [item("echo"), item("__x")]
    );
    assert_eq!(
        place(federation.route_tool(&one, Era::Legacy, "unlisted")),
        at("a", "unlisted")
    );
    assert_eq!(
        place(federation.route_tool(&Endpoint::One(name("zz")), Era::Legacy, "echo")),
        Err(RouteError::Unknown)
    );
}

#[test]
fn the_policy_sees_own_names() {
    let federation = federation(vec![
        fake("a").tools(&["x", "y"]),
        fake("b").tools(&["x", "y"]),
    ]);
    let listed = federation.list(&ALL, Era::Modern, ListKind::Tools, |server, kind, own| {
        assert_eq!(kind, TargetKind::Tool);
        server.as_str() == "a" && own == "y"
    });
    assert_eq!(listed.items.len(), 1);
    assert!(texts(&listed)[0].contains("a__y"));
}

#[test]
fn a_resource_belongs_to_the_first_server_that_has_it() {
    let resources = r#"{"resources":{}}"#;
    let federation = federation(vec![
        fake("a")
            .items(ListKind::Resources, &["test://1", "test://2"])
            .capabilities(resources),
        fake("b")
            .items(ListKind::Resources, &["test://2", "test://3"])
            .capabilities(resources),
    ]);
    assert_eq!(
        federation
            .list(&ALL, Era::Modern, ListKind::Resources, |_, _, _| true)
            .items
            .len(),
        3
    );
    let hidden = Hidden {
        server: name("b"),
        owner: name("a"),
        key: "test://2".into(),
    };
    assert_eq!(federation.hidden(Era::Modern), [hidden]);
    assert_eq!(
        place(federation.route_resource(&ALL, Era::Modern, "test://2")),
        at("a", "test://2")
    );
    assert_eq!(
        place(federation.route_resource(&ALL, Era::Modern, "test://3")),
        at("b", "test://3")
    );
    assert_eq!(
        place(federation.route_resource(&ALL, Era::Modern, "test://4")),
        Err(RouteError::Unknown)
    );
    let own = federation.route_resource(&Endpoint::One(name("b")), Era::Modern, "test://2");
    assert_eq!(place(own), at("b", "test://2"));
}

#[test]
fn a_resource_is_found_by_template_and_by_being_the_only_choice() {
    let federation = federation(vec![
        fake("a").tools(&["t"]),
        fake("b")
            .items(ListKind::Templates, &["test://{id}/data"])
            .capabilities(r#"{"resources":{}}"#),
    ]);
    assert_eq!(
        place(federation.route_resource(&ALL, Era::Modern, "test://7/data")),
        at("b", "test://7/data")
    );
    assert_eq!(
        place(federation.route_resource(&ALL, Era::Modern, "other://x")),
        at("b", "other://x")
    );
}

#[test]
fn completions_follow_their_reference() {
    let federation = federation(vec![
        fake("a").items(ListKind::Prompts, &["p"]),
        fake("b")
            .items(ListKind::Templates, &["test://{id}"])
            .capabilities(r#"{"resources":{}}"#),
    ]);
    let complete = |reference| place(federation.route_completion(&ALL, Era::Modern, reference));
    assert_eq!(
        complete(r#"{"type":"ref/prompt","name":"a__p"}"#),
        at("a", "p")
    );
    assert_eq!(
        complete(r#"{"type":"ref/prompt","name":"p"}"#),
        Err(RouteError::Unknown)
    );
    assert_eq!(
        complete(r#"{"type":"ref/resource","uri":"test://{id}"}"#),
        at("b", "test://{id}")
    );
    assert_eq!(
        complete(r#"{"type":"ref/other","uri":"test://{id}"}"#),
        Err(RouteError::Unknown)
    );
    assert_eq!(complete("7"), Err(RouteError::Unknown));
}

#[test]
fn an_era_is_offered_if_every_known_server_has_it() {
    let eras = |fakes| federation(fakes).eras(&ALL);
    let offered = |modern, legacy| Offered { modern, legacy };
    assert_eq!(eras(vec![]), offered(true, true));
    assert_eq!(eras(vec![fake("a"), fake("b")]), offered(true, true));
    assert_eq!(
        eras(vec![fake("a"), fake("b").only(Era::Legacy)]),
        offered(false, true)
    );
    assert_eq!(
        eras(vec![fake("a").only(Era::Modern), fake("b")]),
        offered(true, false)
    );
    assert_eq!(
        eras(vec![
            fake("a").only(Era::Modern),
            fake("b").only(Era::Legacy)
        ]),
        offered(true, true)
    );

    let mixed = federation(vec![
        fake("a").only(Era::Modern).tools(&["x"]),
        fake("b").only(Era::Legacy).tools(&["x"]),
    ]);
    assert_eq!(mixed.eras(&Endpoint::One(name("a"))), offered(true, false));
    assert_eq!(
        texts(&mixed.list(&ALL, Era::Modern, ListKind::Tools, |_, _, _| true)).len(),
        1
    );
    let wrong = RouteError::WrongEra {
        server: name("b"),
        spoken: Era::Legacy,
    };
    assert_eq!(
        place(mixed.route_tool(&ALL, Era::Modern, "b__x")),
        Err(wrong)
    );
}

#[test]
fn a_server_that_is_down_is_still_listed_and_says_why() {
    let down = UpstreamState::Down {
        reason: "it died".into(),
    };
    let federation = federation(vec![
        fake("a").tools(&["x"]).state(down),
        fake("b").tools(&["x"]),
    ]);
    let listed = federation.list(&ALL, Era::Modern, ListKind::Tools, |_, _, _| true);
    assert_eq!((listed.items.len(), listed.missing.len()), (2, 0));
    let down = RouteError::Down {
        server: name("a"),
        reason: "it died".into(),
    };
    assert_eq!(
        place(federation.route_tool(&ALL, Era::Modern, "a__x")),
        Err(down)
    );
}

#[test]
fn a_server_that_was_never_reached_is_missed() {
    let known = fake("a").tools(&["x"]).view();
    let federation = Federation::new(vec![
        Arc::new(known),
        Arc::new(ServerView::starting(name("b"))),
    ]);
    let listed = federation.list(&ALL, Era::Modern, ListKind::Tools, |_, _, _| true);
    assert_eq!(
        (listed.items.len(), listed.missing, listed.ttl_ms),
        (1, vec![name("b")], 0)
    );
    assert!(matches!(
        federation.route_tool(&ALL, Era::Modern, "b__x"),
        Err(RouteError::Down { .. })
    ));
    assert_eq!(
        place(federation.route_tool(&ALL, Era::Modern, "a__y")),
        Err(RouteError::Unknown)
    );
    assert_eq!(
        federation.eras(&ALL),
        Offered {
            modern: true,
            legacy: true
        }
    );
}

#[test]
fn a_federation_speaks_for_itself_and_one_server_for_its_own() {
    let federation = federation(vec![
        fake("a").capabilities(r#"{"tools":{"listChanged":true}}"#),
        fake("b").capabilities(r#"{"prompts":{}}"#),
    ]);
    let all = federation.hello(&ALL, Era::Modern);
    assert_eq!(
        all.capabilities,
        r#"{"tools":{"listChanged":true},"prompts":{}}"#
    );
    assert!(
        all.server_info
            .starts_with(br#"{"name":"weir","version":""#)
    );
    let one = federation.hello(&Endpoint::One(name("b")), Era::Modern);
    assert_eq!(
        (one.capabilities.as_ref(), one.server_info.as_ref()),
        (&br#"{"prompts":{}}"#[..], &br#"{"name":"own"}"#[..])
    );
}

#[test]
fn one_server_is_swapped_and_the_others_stay() {
    let before = federation(vec![fake("a").tools(&["x"]), fake("b").tools(&["y"])]);
    let after = before.with(fake("a").tools(&["x", "z"]).view());
    assert_eq!(
        before
            .list(&ALL, Era::Modern, ListKind::Tools, |_, _, _| true)
            .items
            .len(),
        2
    );
    let listed = after
        .list(&ALL, Era::Modern, ListKind::Tools, |_, _, _| true)
        .items;
    assert_eq!(listed.len(), 3);
    // The unchanged server's items are the very same bytes.
    let old = before
        .list(&ALL, Era::Modern, ListKind::Tools, |_, _, _| true)
        .items;
    assert_eq!(old[1].as_ptr(), listed[2].as_ptr());
    assert_eq!(after.with(fake("stranger").view()).servers.len(), 2);
}

proptest! {
    /// Whatever the servers offer: every listed name leads back to its server and own name, and no two are the same.
    #[test]
    fn listed_names_lead_home(
        servers in proptest::collection::vec(proptest::collection::btree_set("[a-b_]{1,4}", 0..6), 1..5)
    ) {
        let names = ["a", "a_b", "b", "a-b", "ab"];
        let fakes = servers.iter().zip(names).map(|(tools, name)| {
            let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
            fake(name).tools(&tools)
        });
        let federation = federation(fakes.collect());
        let mut expected = Vec::new();
        for (tools, server) in servers.iter().zip(names) {
            for tool in tools {
                expected.push((server.to_owned(), tool.clone()));
            }
        }
        let mut found = Vec::new();
        for item in texts(&federation.list(&ALL, Era::Modern, ListKind::Tools, |_, _, _| true)) {
            let value: serde_json::Value = serde_json::from_str(&item.replace("1e300", "1")).unwrap();
            found.push(place(federation.route_tool(&ALL, Era::Modern, value["name"].as_str().unwrap())).unwrap());
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn an_established_owner_keeps_its_resources() {
    let one = |name: &'static str, uris: &[&str]| {
        Arc::new(fake(name).items(ListKind::Resources, uris).view())
    };
    let federation = Federation::new(vec![one("a", &[]), one("b", &["file:///pay"])]);
    // The server that stands first in the configuration begins to claim what the second has had.
    let federation = federation.with(ServerView::clone(&one(
        "a",
        &["file:///pay", "file:///own"],
    )));
    let route = |federation: &Federation, uri: &str| {
        let route = federation
            .route_resource(&Endpoint::All, Era::Modern, uri)
            .unwrap();
        route.server.name.to_string()
    };
    assert_eq!(route(&federation, "file:///pay"), "b");
    assert_eq!(route(&federation, "file:///own"), "a");
    // Given up, it is free.
    let federation = federation.with(ServerView::clone(&one("b", &[])));
    assert_eq!(route(&federation, "file:///pay"), "a");
}
