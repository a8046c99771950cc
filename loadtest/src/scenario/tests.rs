use super::*;

fn faults(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ScenarioError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// One load with these keys.
fn load(keys: &str) -> String {
    format!("[[load]]\nname = 'a'\nloop = 'closed'\n{keys}")
}

#[test]
fn our_scenarios_can_be_read_and_hold_what_bars_want() {
    let bars = parse(BARS).unwrap();
    let names: Vec<_> = bars.loads.iter().map(|load| load.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "small-h1",
            "small-h2",
            "rate-400",
            "download",
            "download-8",
            "upload-8"
        ]
    );
    for bar in crate::compare::bars::parse(crate::compare::bars::OURS).unwrap() {
        assert!(names.contains(&bar.case.as_str()), "{}", bar.case);
    }
    assert!(bars.loads.iter().all(|load| load.plain().is_some()));
    let wide = parse(WIDE).unwrap();
    assert!(wide.loads.iter().any(|load| load.ask == Ask::Grpc));
}

#[test]
fn keys_that_are_left_out_have_defaults() {
    let scenario = parse(&load("")).unwrap();
    let load = &scenario.loads[0];
    assert_eq!(
        (scenario.seed, load.users(), load.duration),
        (1, 1, DURATION)
    );
    assert_eq!((load.protocol, load.ask), (Speaks::Http1, Ask::Get));
    assert_eq!(load.paths, ["/"]);
    assert!(load.keep_alive);
}

#[test]
fn several_rates_become_a_load_each() {
    let text = "[[load]]\nname = 'rise'\nabout = 'x'\nloop = 'open'\nrate = [10, 2.5]\narrivals = 'poisson'";
    let loads = parse(text).unwrap().loads;
    let names: Vec<_> = loads.iter().map(|load| load.name.as_str()).collect();
    assert_eq!(names, ["rise-10", "rise-2.5"]);
    assert_eq!(loads[1].sweep.as_deref(), Some("rise"));
    let slower = Pacing::Open {
        rate: 2.5,
        arrivals: Arrivals::Poisson,
    };
    assert_eq!(loads[1].pacing, slower);
}

#[test]
fn all_faults_are_told_at_once_each_with_its_key() {
    let text = "
        seeds = 3
        [[load]]
        name = 'a b'
        loop = 'wide'
        connections = 0
        duration = '5 x'
        colour = 'red'
        [[load]]
        loop = 'open'
        bytes = '1 kB'
        path = 'x'
        [[load]]
        name = 'c'
        loop = 'closed'
        rate = 5
        keep_alive = 'no'";
    assert_eq!(
        faults(text),
        [
            "seeds: is not known",
            "load 1: name: has to be letters, digits, - and .",
            "load 1: connections: has to be a number from 1 to 20000",
            "load 1: duration: \"5 x\" needs one of the units ms, s, m, h, d",
            "load 1: loop: \"wide\" is none of closed, open",
            "load 1: colour: is not known",
            "load 2: name: is missing",
            "load 2: path: \"x\" is no path",
            "load 2: bytes: \"1 kB\" needs one of the units B, KiB, MiB, GiB",
            "load 2: rate: is missing: an open loop needs it",
            "load 3: keep_alive: has to be true or false",
            "load 3: rate: a closed loop has none",
        ]
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    let check = |keys: &str, expected: &str| {
        let faults = faults(&load(keys));
        assert_eq!(faults, [format!("load 1: {expected}")], "{keys}");
    };
    check(
        "streams = 2",
        "streams: this connection has one request at a time",
    );
    check(
        "protocol = 'h2'\nstreams = 2\nkeep_alive = false",
        "streams: this connection has one request at a time",
    );
    check("ask = 'put'", "bytes: is missing: how much is put");
    check(
        "ask = 'websocket'",
        "bytes: a message of up to 1048576 bytes is needed",
    );
    check(
        "ask = 'grpc'\nbytes = 1\nprotocol = 'h1'",
        "protocol: this is asked over HTTP/2 only",
    );
    check("ask = 'events'\nbytes = 1", "bytes: events have no length");
    check(
        "ask = 'events'\nkeep_alive = false",
        "keep_alive: only gets and puts can do without",
    );
    check(
        "protocol = 'quinn'",
        "protocol: plain streams need get or put, bytes and keep_alive, to the end",
    );
    check(
        "path = ['/a', '/b']\nbytes = 1",
        "path: only gets without bytes may have several",
    );
    check("path = []", "path: must not be empty");
    check(
        "ask = 'put'\nbytes = 1\nleave_after = 1",
        "leave_after: only gets are left in the middle",
    );
    check(
        "protocol = 'h2'\nconnections = 20000\nstreams = 2",
        "connections: times streams may be 20000",
    );
    check("arrivals = 'poisson'", "arrivals: a closed loop has none");
    check(
        "duration = '0s'",
        "duration: has to be above 0 and at most 86400s",
    );
}

#[test]
fn names_are_told_apart_and_loads_are_needed() {
    assert_eq!(
        faults(&load("").repeat(2)),
        ["load 2: name: there is another load a"]
    );
    assert_eq!(faults("seed = 1"), ["load: between 1 and 200 are needed"]);
    assert_eq!(
        faults("load = 5"),
        [
            "load: has to be a table",
            "load: between 1 and 200 are needed"
        ]
    );
    assert!(matches!(parse("[[load"), Err(ScenarioError::Toml(_))));
}

#[test]
fn loads_are_selected_by_name_and_by_sweep() {
    let selected = |names: &[&str]| {
        let mut scenario = parse(WIDE).unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        scenario.select(&names).map(|()| scenario.loads.len())
    };
    assert_eq!(selected(&["grpc", "sweep"]).unwrap(), 9);
    assert_eq!(selected(&[]).unwrap(), parse(WIDE).unwrap().loads.len());
    let error = selected(&["nothing"]).unwrap_err().to_string();
    assert!(
        error.starts_with("no load nothing; there are sweep-500, "),
        "{error}"
    );
}

#[test]
fn plain_streams_do_the_same_work_on_one_connection() {
    let text = load("protocol = 'h2'\nconnections = 8\nstreams = 8\nbytes = '1KiB'");
    let plain = parse(&text).unwrap().loads[0].plain().unwrap();
    assert_eq!((plain.connections.get(), plain.users()), (1, 64));
    assert_eq!(plain.answer_bytes(), Some(1024));
    assert_eq!(parse(&load("")).unwrap().loads[0].plain(), None);
}
