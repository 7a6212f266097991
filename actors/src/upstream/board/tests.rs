use super::super::catalog::ListKind;
use super::super::federation::Endpoint;
use super::super::federation::tests::fake;
use super::super::view::ChangedList;
use super::*;

fn name(text: &str) -> ServerName {
    ServerName::new(text).unwrap()
}

fn put(board: &UpstreamBoard, view: ServerView) {
    board.update(&view.name.clone(), |known| *known = view);
}

#[tokio::test]
async fn changes_are_seen_after_they_are_told() {
    let board = UpstreamBoard::new([name("a"), name("b")]);
    let mut events = board.events();
    put(&board, fake("a").tools(&["x"]).view());
    assert!(
        matches!(events.try_recv(), Ok(UpstreamEvent::ToolsChanged(server)) if server == name("a"))
    );
    assert!(
        board
            .load()
            .route_tool(&crate::upstream::Endpoint::All, Era::Modern, "a__x")
            .is_ok()
    );
    // The same again is no news.
    put(&board, fake("a").tools(&["x"]).view());
    assert!(events.try_recv().is_err());
    put(
        &board,
        fake("a")
            .tools(&["x"])
            .items(ListKind::Templates, &["t://{a}"])
            .view(),
    );
    assert!(matches!(
        events.try_recv(),
        Ok(UpstreamEvent::ResourcesChanged(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn settled_waits_for_the_last_server() {
    let board = UpstreamBoard::new([name("a"), name("b")]);
    assert!(!board.settled(Duration::from_secs(10)).await);
    put(&board, fake("a").view());
    let waiting = board.clone();
    let settled = tokio::spawn(async move { waiting.settled(Duration::from_secs(10)).await });
    tokio::task::yield_now().await;
    board.update(&name("b"), |server| {
        server.state = UpstreamState::Down {
            reason: "gone".into(),
        }
    });
    assert!(settled.await.unwrap());
}

/// Instances take their places and leave them in one step, and what is watched stays watched.
#[tokio::test]
async fn servers_are_replaced_in_one_step() {
    let board = UpstreamBoard::new([name("a"), name("b")]);
    put(&board, fake("a").tools(&["old"]).view());
    put(&board, fake("b").tools(&["stays"]).view());
    let watching = board.subscribe(&name("a"), "test://1").unwrap();
    let request = board.federation();
    let (before, kept) = (
        board.desk(&name("a")).unwrap(),
        board.desk(&name("b")).unwrap(),
    );
    let mut events = board.events();
    let mut configured = board.configured();

    let newcomer = Arc::new(before.successor("a~2".into()));
    board.expect(newcomer.clone());
    board.publish(&newcomer, |view| {
        let found = fake("a").tools(&["new"]).view();
        view.modern = found.modern;
        view.state = UpstreamState::Ready;
    });
    assert!(
        events.try_recv().is_err(),
        "nobody hears of it before it serves"
    );
    assert!(
        board
            .load()
            .list(&Endpoint::All, Era::Modern, ListKind::Tools, |_, _, _| true)
            .items
            .len()
            == 2
    );
    assert!(
        board
            .decided(std::slice::from_ref(&newcomer), Duration::ZERO)
            .await
    );

    let settings = Settings {
        serial: 7,
        ..Settings::default()
    };
    let gone = board.seat(Arc::new(settings), &[kept.clone(), newcomer.clone()]);
    let now = board.federation();
    assert_eq!(
        (now.settings.serial, *configured.borrow_and_update()),
        (7, 7)
    );
    assert_eq!(
        now.servers
            .iter()
            .map(|server| server.name.as_str())
            .collect::<Vec<_>>(),
        ["b", "a"]
    );
    assert!(
        now.route_tool(&Endpoint::All, Era::Modern, "a__new")
            .is_ok()
    );
    assert!(
        now.route_tool(&Endpoint::All, Era::Modern, "a__old")
            .is_err()
    );
    assert!(
        request
            .route_tool(&Endpoint::All, Era::Modern, "a__old")
            .is_ok()
    );
    assert_eq!(newcomer.wanted(), ["test://1"]);
    assert!(
        matches!(events.try_recv(), Ok(UpstreamEvent::Reconfigured { list: ChangedList::Tools, servers }) if servers.contains(&name("a")))
    );

    // The old instance is there until the last request that knows it has ended, and has nothing to say.
    let mut vacancy = gone[0].seat.vacancy();
    drop((gone, now));
    board.publish(&before, |view| view.state = UpstreamState::Starting);
    assert_eq!(
        board.load().server(&name("a")).unwrap().state,
        UpstreamState::Ready
    );
    assert!(!vacancy.is_vacant());
    drop(request);
    vacancy.vacant().await;
    drop(watching);
    assert!(newcomer.wanted().is_empty());
}

#[test]
fn a_server_that_goes_takes_its_tools_along_and_the_rest_is_called_by_its_own_names() {
    let board = UpstreamBoard::new([name("a"), name("b")]);
    put(&board, fake("a").tools(&["x"]).view());
    put(
        &board,
        fake("b")
            .tools(&["y"])
            .items(ListKind::Resources, &["r://1"])
            .view(),
    );
    let mut events = board.events();
    let stays = board.desk(&name("b")).unwrap();
    let gone = board.seat(Arc::default(), &[stays]);
    assert_eq!(gone.len(), 1);
    let now = board.federation();
    assert!(now.route_tool(&Endpoint::All, Era::Modern, "y").is_ok());
    assert!(now.route_tool(&Endpoint::All, Era::Modern, "a__x").is_err());
    let Ok(UpstreamEvent::Reconfigured {
        list: ChangedList::Tools,
        servers,
    }) = events.try_recv()
    else {
        panic!("the tools changed")
    };
    assert_eq!(servers.len(), 2);
}

#[test]
fn who_had_a_uri_first_keeps_it_wherever_it_stands() {
    let board = UpstreamBoard::new([name("a")]);
    put(
        &board,
        fake("a").items(ListKind::Resources, &["r://1"]).view(),
    );
    let (first, thief) = (
        board.desk(&name("a")).unwrap(),
        Arc::new(Desk::new(name("thief"), "thief~2".into())),
    );
    board.expect(thief.clone());
    board.publish(&thief, |view| {
        let found = fake("thief").items(ListKind::Resources, &["r://1"]).view();
        view.modern = found.modern;
        view.state = UpstreamState::Ready;
    });
    board.seat(Arc::default(), &[thief, first]);
    let now = board.federation();
    let route = now
        .route_resource(&Endpoint::All, Era::Modern, "r://1")
        .unwrap();
    assert_eq!(route.server.name, name("a"));
}

#[tokio::test]
async fn readers_never_see_half_a_swap() {
    let board = UpstreamBoard::new([name("a")]);
    put(&board, fake("a").tools(&["x", "y"]).view());
    let reading = board.clone();
    let reader = std::thread::spawn(move || {
        for _ in 0..2_000 {
            let seen = reading.load().list(
                &crate::upstream::Endpoint::All,
                Era::Modern,
                ListKind::Tools,
                |_, _, _| true,
            );
            assert!(matches!(seen.items.len(), 2 | 5), "{}", seen.items.len());
        }
    });
    for round in 0..500 {
        let names: &[&str] = if round % 2 == 0 {
            &["a", "b", "c", "d", "e"]
        } else {
            &["x", "y"]
        };
        put(&board, fake("a").tools(names).view());
    }
    reader.join().unwrap();
}
