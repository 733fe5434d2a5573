//! Several workers share what one of them learns.

use super::*;

fn worker(role: Role) -> (Link, Vec<Output>) {
    let mut link = Link::new(role, Random::numbered(3));
    let mut out = Vec::new();
    link.configure(Instant::ZERO, Arc::new(config(MAC_A, &["10.0.0.1/24", "2001:db8::1/64"])), &mut out);
    link.link_state(Instant::ZERO, PORT, true, &mut out);
    (link, out)
}

#[test]
fn a_follower_says_nothing_itself_and_is_told_what_the_leader_learns() {
    let now = Instant::ZERO;
    let (mut follower, out) = worker(Role::Follower);
    assert_eq!(out, []);
    let mut world = World::pair(1);
    let mut out = Vec::new();
    follower.send(now, IF, ip("10.0.0.2"), echo("10.0.0.1", "10.0.0.2"), &mut out);
    assert_eq!(out, [Output::Ask { interface: IF, address: ip("10.0.0.2") }]);
    world.with(0, |link, now, out| link.ask(now, IF, ip("10.0.0.2"), out));
    let learned: Vec<_> = world.stations[0]
        .out
        .iter()
        .filter_map(|output| if let Output::Learned(learned) = output { Some(*learned) } else { None })
        .collect();
    out.clear();
    for learned in learned {
        follower.learn(now, learned, &mut out);
    }
    assert!(matches!(out.as_slice(), [Output::Frame { port: PORT, .. }]), "the packet that waited: {out:?}");
    assert_eq!(follower.lookup(IF, ip("10.0.0.2")), Some(MAC_B));
    out.clear();
    follower.learn(now, crate::Learned { interface: IF, address: ip("10.0.0.2"), mac: None }, &mut out);
    assert_eq!(follower.lookup(IF, ip("10.0.0.2")), None);
}

#[test]
fn what_concerns_the_leader_is_handed_to_it() {
    let (mut follower, _) = worker(Role::Follower);
    let (mut leader, mut out) = worker(Role::Leader);
    out.clear();
    leader.probe(Instant::ZERO, IF, ip("10.0.0.2"), &mut out);
    let Some(Output::Frame { frame, .. }) = out.pop() else { panic!("{out:?}") };
    let mut question = frame.bytes().to_vec();
    question[6..12].copy_from_slice(&MAC_B.0);
    follower.frame(Instant::ZERO, PORT, Buffer::copy(&question), &mut out);
    assert_eq!(out, [Output::Control { port: PORT, frame: Buffer::copy(&question) }]);
}

#[test]
fn the_same_seed_and_inputs_give_the_same_outputs() {
    let history = |seed| {
        let mut world = World::pair(seed);
        world.loss = 40;
        for second in 0..120 {
            world.send(second % 2, ["10.0.0.2", "10.0.0.1"][second % 2], echo("10.0.0.1", "10.0.0.2"));
            world.run_secs(1);
        }
        let outputs = world.stations.iter().map(|station| format!("{:?}", station.out)).collect::<Vec<_>>();
        (world.frames, outputs)
    };
    assert_eq!(history(5), history(5));
    assert_ne!(history(5), history(6));
}
