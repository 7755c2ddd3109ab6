//! Another configuration while calls go on.

use super::*;

/// Puts a configuration in force that differs from [`config`] as `change` says.
pub(super) fn reload(world: &mut World, change: impl FnOnce(&mut config::Config)) -> Arc<Routes> {
    reload_with(world, Vec::new(), change)
}

fn reload_with(
    world: &mut World,
    locals: Vec<(LocalId, Retired)>,
    change: impl FnOnce(&mut config::Config),
) -> Arc<Routes> {
    let mut config = world.core.routes().config().clone();
    change(&mut config);
    let routes = routes(config);
    let renewal = Renewal { locals, last: FlowId(1000) };
    let former = world.core.replace(routes, renewal, world.now);
    world.drain();
    former
}

/// Without the tenant t001: t002 takes its place in the list.
fn without_t001(config: &mut config::Config) {
    config.tenants.remove(0);
}

/// Without carrier-a: every other trunk has another place then.
fn without_carrier_a(config: &mut config::Config) {
    config.trunks.remove(0);
    let place = |index: &mut usize| *index -= usize::from(*index > 0);
    let keep = |list: &mut Vec<usize>| {
        list.retain(|index| *index != 0);
        list.iter_mut().for_each(place);
    };
    for trunk in &mut config.trunks {
        keep(&mut trunk.trunks);
        keep(&mut trunk.inbound_trunks);
    }
    for tenant in &mut config.tenants {
        keep(&mut tenant.trunks);
        keep(&mut tenant.inbound_trunks);
    }
}

/// Hangs up from the carrier and looks that both sides and the record are as they should be.
pub(super) fn ends_well(world: &mut World, ok: &str) {
    world.hear(CARRIER, &carrier_bye(ok));
    world.expect(CARRIER, "SIP/2.0 200");
    let bye = world.expect(PROXY, "BYE sip:api-du-a.pstnhub.test");
    assert!(value(&bye, "Via").starts_with("SIP/2.0/TLS t001.sbc.test:5061;"));
    world.hear(PROXY, &reply(&bye, "200 OK", "t1", "", "").replace(";tag=t1;tag=t1", ";tag=t1"));
    world.wait(Duration::from_secs(70));
    assert_eq!(world.core.calls(), 0);
    let record = world.records.last().expect("a record");
    assert_eq!(record.legs[0].trunk.as_deref(), Some("carrier-a"));
    assert_eq!(record.legs[1].tenant.as_deref(), Some("t001"));
    assert_eq!(record.cause.sip, 200);
}

#[test]
fn r05_a_call_goes_on_when_its_tenant_is_removed_and_no_new_one_begins() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    reload(&mut world, without_t001);
    let again = carrier_invite("+442079460001", PLAIN).replace("c1", "c5");
    world.hear(CARRIER, &again);
    world.expect(CARRIER, "SIP/2.0 404");
    ends_well(&mut world, &ok);
}

#[test]
fn r05_a_call_goes_on_when_its_trunk_is_removed_and_strangers_hear_nothing() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    reload(&mut world, without_carrier_a);
    world.sent.clear();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN).replace("c1", "c5"));
    world.nothing_but(CARRIER, &[]);
    ends_well(&mut world, &ok);
}

#[test]
fn r05_a_call_that_rings_can_still_be_cancelled_when_its_trunk_is_removed() {
    let mut world = World::new();
    let text = carrier_invite("+442079460001", PLAIN);
    world.hear(CARRIER, &text);
    let invite = world.expect(PROXY, "INVITE ");
    world.hear(PROXY, &reply(&invite, "180 Ringing", "t1", "", ""));
    reload(&mut world, without_carrier_a);
    let cancel = text
        .replace("INVITE sip", "CANCEL sip")
        .replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL")
        .replace("Contact: <sip:ann@127.0.0.50:5070>\n", "");
    let head = cancel.split("Content-Type").next().unwrap_or_default();
    world.hear(CARRIER, &format!("{head}Content-Length: 0\n\n"));
    world.expect(CARRIER, "SIP/2.0 200");
    world.expect(PROXY, "CANCEL ");
    world.expect(CARRIER, "SIP/2.0 487");
}

#[test]
fn r05_a_new_tenant_and_a_new_trunk_are_served_at_once() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079461001", PLAIN));
    world.expect(CARRIER, "SIP/2.0 404");
    let stranger = "127.0.0.77:5070";
    let text = carrier_invite("+442079461001", PLAIN).replace("c1", "c2");
    world.hear(stranger, &text);
    world.nothing_but(stranger, &[]);
    reload(&mut world, |config| {
        let mut trunk = config.trunks[0].clone();
        trunk.name = "carrier-new".into();
        trunk.networks = vec!["127.0.0.77/32".parse().unwrap()];
        config.trunks.push(trunk);
        let mut tenant = config.tenants[0].clone();
        tenant.name = "t000".into();
        tenant.names[0].fqdn = "t000.sbc.test".into();
        tenant.numbers = crate::routing::tests::numbers("+442079461000-+442079461099");
        tenant.inbound_trunks = vec![3];
        config.tenants.insert(0, tenant);
    });
    world.hear(stranger, &text.replace("z9hG4bKc2", "z9hG4bKc3"));
    world.expect(stranger, "SIP/2.0 100");
    let invite = world.expect(PROXY, "INVITE sip:+442079461001@sip.teams.test");
    assert!(value(&invite, "Contact").contains("@t000.sbc.test:5061"));
}

#[test]
fn r05_a_limit_counts_the_calls_that_began_before() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    reload(&mut world, |config| {
        config.tenants.reverse();
        config.tenants[1].limits.all.calls = Some(1);
    });
    let again = carrier_invite("+442079460001", PLAIN);
    world.hear(CARRIER, &again.replace("c1", "c5"));
    let refused = world.expect(CARRIER, "SIP/2.0 503");
    assert_eq!(value(&refused, "Call-ID"), "c5");
    ends_well(&mut world, &ok);
    world.hear(CARRIER, &again.replace("c1", "c6"));
    world.expect(CARRIER, "SIP/2.0 100");
}

#[test]
fn r05_a_call_that_is_set_up_keeps_to_the_hops_that_it_began_with() {
    let mut world = World::new();
    world.hear(CARRIER, &carrier_invite("+442079460001", PLAIN));
    let first = world.expect(PROXY, "INVITE sip:+442079460001@sip.teams.test");
    reload(&mut world, |config| {
        without_t001(config);
        without_carrier_a(config);
        config.edges[0].proxies = vec!["sip2.teams.test".into(), "sip.teams.test".into()];
    });
    world.hear(PROXY, &reply(&first, "503 Service Unavailable", "t0", "", ""));
    let second = world.expect("127.0.0.21:5061", "INVITE sip:+442079460001@sip2.teams.test");
    assert!(value(&second, "Contact").contains("@t001.sbc.test:5061"));
}

#[test]
fn tr_074_a_reload_adds_no_options_and_forgets_no_health() {
    let mut world = World::new();
    world.wait(Duration::from_millis(1));
    let count =
        |world: &World| world.sent.iter().filter(|(_, text)| text.starts_with("OPTIONS")).count();
    assert_eq!(count(&world), 2, "one for each proxy");
    let probes: Vec<String> = world.sent.drain(..).map(|(_, text)| text).collect();
    for probe in probes {
        world.hear(PROXY, &reply(&probe, "200 OK", "h", "", ""));
    }
    let template = world.core.routes().config().tenants[0].clone();
    for second in 0..55 {
        reload(&mut world, |config| {
            for n in 0..20 {
                let mut tenant = template.clone();
                tenant.name = format!("n{second}-{n}");
                tenant.names[0].fqdn = format!("n{second}-{n}.sbc.test");
                tenant.numbers = config::Numbers::default();
                config.tenants.push(tenant);
            }
        });
        world.wait(Duration::from_secs(1));
    }
    assert_eq!(world.core.routes().config().tenants.len(), 1102);
    assert_eq!(count(&world), 0, "the interval is not over");
    assert!(world.core.is_able());
    world.wait(Duration::from_secs(11));
    assert_eq!(count(&world), 2, "one for each proxy, whatever the number of tenants");
    reload(&mut world, |config| config.edges[0].proxies.push("sip.teams.test.".into()));
    world.wait(Duration::from_millis(1));
    assert!(count(&world) <= 3);
}

#[test]
fn r05_the_former_configuration_lives_as_long_as_its_calls() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    let former = reload(&mut world, without_t001);
    assert_eq!(Arc::strong_count(&former), 2, "the call and we");
    ends_well(&mut world, &ok);
    assert_eq!(Arc::strong_count(&former), 1);
}

#[test]
fn tr_015_a_renewed_certificate_puts_connections_out_of_use_and_cuts_no_call() {
    let mut world = World::new();
    let (_, ok) = answered(&mut world);
    reload_with(&mut world, vec![(LocalId(0), Retired::Replaced)], |_| {});
    assert_eq!(world.retired, [FlowId(7)]);
    world.wait(Duration::from_secs(30));
    assert_eq!(world.closed, []);
    ends_well(&mut world, &ok);
    assert_eq!(world.closed, [FlowId(7)]);
}

#[test]
fn r05_a_network_that_is_taken_out_keeps_its_calls_and_begins_none() {
    let mut world = World::new();
    let (invite, _) = answered(&mut world);
    reload(&mut world, |config| {
        config.edges[0].networks = vec!["192.0.2.0/24".parse().unwrap()];
    });
    assert_eq!(world.retired, [FlowId(7)]);
    world.sent.clear();
    let options = in_dialog(&invite, "OPTIONS", 1, "x", "", "");
    let outside = options.replace(value(&options, "To"), "<sip:t001.sbc.test>");
    world.hear(PROXY, &outside.replace(value(&options, "Call-ID"), "elsewhere"));
    world.nothing_but(PROXY, &[]);
    world.hear(PROXY, &in_dialog(&invite, "BYE", 3, "t1", "", ""));
    world.expect(PROXY, "SIP/2.0 200");
    world.expect(CARRIER, "BYE ");
}
