//! One test's surroundings: addresses, a directory, a PKI, the configuration that operators write,
//! and the raw ends around the gateway.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lab::pki::{Identity, KeyKind, Leaf, Pki};
use rustls::{ClientConfig, ServerConfig};
use tempfile::TempDir;

use super::audit;
use super::dialog::{Dialog, Invite, Persona, token};
use super::gateway::Gateway;
use super::place::{ADMIN, CARRIER_SIDE, DNS, EDGE, PROXY, Place};
use super::tls;
use super::watchdog::Watchdog;
use super::wire::{Auto, End, Flow, Inbox, Received};

pub const FQDN: &str = "sbc.test";
pub const PROXIES: [&str; 3] = ["sip.teams.test", "sip2.teams.test", "sip3.teams.test"];

pub struct Scene {
    pub place: Place,
    pub pki: Pki,
    dir: Option<TempDir>,
    proxies: usize,
    certificate: (PathBuf, PathBuf),
    trunks: String,
    tenants: BTreeMap<String, String>,
    hosts: BTreeMap<String, IpAddr>,
    roots: PathBuf,
    teams_net: String,
    media: String,
    ports: &'static str,
    gateway_keys: String,
    carrier_keys: String,
    advertise: Option<IpAddr>,
    times: u32,
    _watchdog: Watchdog,
}

impl Scene {
    /// One proxy, no trunk, no tenant.
    pub fn new(test: &str) -> Self {
        Self::within(test, Duration::from_secs(60))
    }

    pub fn within(test: &str, limit: Duration) -> Self {
        let dir = TempDir::with_prefix("trunkgate-").unwrap();
        let pki = Pki::create(&dir.path().join("pki")).unwrap();
        let gateway = pki.issue("gateway", &Leaf::gateway(FQDN).key(KeyKind::EcdsaP256)).unwrap();
        let place = Place::new();
        let hosts = PROXIES.iter().zip(PROXY..).map(|(n, h)| ((*n).to_owned(), place.ip(h)));
        let roots = pki.roots_path();
        Self {
            place,
            roots,
            teams_net: format!("\"{}\"", place.net()),
            media: String::new(),
            ports: "20000-20199",
            gateway_keys: String::new(),
            carrier_keys: String::new(),
            advertise: None,
            pki,
            dir: Some(dir),
            proxies: 1,
            certificate: (gateway.certificate, gateway.key),
            trunks: String::new(),
            tenants: BTreeMap::new(),
            hosts: hosts.collect(),
            times: 1,
            _watchdog: Watchdog::start(test, limit),
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("until drop").path()
    }

    pub fn ca(&self) -> PathBuf {
        self.pki.roots_path()
    }

    pub fn proxies(&mut self, count: usize) -> &mut Self {
        self.proxies = count;
        self
    }

    /// The gateway's clock runs so many times as fast as ours.
    pub fn times(&mut self, times: u32) -> &mut Self {
        self.times = times;
        self
    }

    /// Another certificate for the gateway.
    pub fn certificate(&mut self, identity: &Identity) -> &mut Self {
        self.certificate = (identity.certificate.clone(), identity.key.clone());
        self
    }

    /// Only that host may be Teams.
    pub fn restrict_teams_to(&mut self, host: u8) -> &mut Self {
        self.teams_net = format!("\"{}/32\"", self.place.ip(host));
        self
    }

    /// Teams may also come from there.
    pub fn teams_also_from(&mut self, network: &str) -> &mut Self {
        write!(self.teams_net, ", \"{network}\"").unwrap();
        self
    }

    /// Another file of roots that the gateway trusts.
    pub fn roots(&mut self, path: PathBuf) -> &mut Self {
        self.roots = path;
        self
    }

    /// A trunk whose peer and network is one host of this place; `keys` are further TOML lines.
    pub fn trunk(&mut self, name: &str, transport: &str, host: u8, keys: &str) -> &mut Self {
        let address = self.place.ip(host);
        write!(
            self.trunks,
            "\n[[trunk]]\nname = \"{name}\"\npeers = [\"{transport}:{address}:5060\"]\n\
             networks = [\"{address}/32\"]\n{keys}\n"
        )
        .unwrap();
        self
    }

    /// A trunk in one's own words.
    pub fn trunk_text(&mut self, text: &str) -> &mut Self {
        self.tables(&format!("[[trunk]]\n{text}"))
    }

    /// Further tables, at the end of the file.
    pub fn tables(&mut self, text: &str) -> &mut Self {
        write!(self.trunks, "\n{text}\n").unwrap();
        self
    }

    /// More media ports than the usual hundred pairs of each side.
    pub fn ports(&mut self, range: &'static str) -> &mut Self {
        self.ports = range;
        self
    }

    /// Further keys of `[gateway]`.
    pub fn gateway_keys(&mut self, text: &str) -> &mut Self {
        text.clone_into(&mut self.gateway_keys);
        self
    }

    /// Further keys of `[carrier]`.
    pub fn carrier_keys(&mut self, text: &str) -> &mut Self {
        text.clone_into(&mut self.carrier_keys);
        self
    }

    /// Behind NAT: peers are told this address, for signalling and media.
    pub fn behind(&mut self, address: IpAddr) -> &mut Self {
        self.advertise = Some(address);
        self
    }

    /// Without trunks and tenants; files of tenants that were written stay.
    pub fn bare(&mut self) -> &mut Self {
        self.trunks.clear();
        self.tenants.clear();
        self
    }

    /// Further entries of `[media]`.
    pub fn media(&mut self, text: &str) -> &mut Self {
        text.clone_into(&mut self.media);
        self
    }

    pub fn tenant(
        &mut self,
        name: &str,
        trunks: &[&str],
        numbers: &[&str],
        keys: &str,
    ) -> &mut Self {
        let text = format!(
            "[tenant]\nname = \"{name}\"\nlabel = \"{name}\"\ntrunks = {trunks:?}\nnumbers = {numbers:?}\n{keys}\n"
        );
        self.tenants.insert(name.to_owned(), text);
        self
    }

    /// Tenant t001 with +15550010000 to +15550019999, on trunk carrier-a.
    pub fn usual_tenant(&mut self) -> &mut Self {
        self.tenant("t001", &["carrier-a"], &["+15550010000-+15550019999"], "")
    }

    /// The usual one: tenant t001 with +15550010000 to +15550019999 on a UDP carrier.
    pub fn usual(test: &str) -> Self {
        let mut scene = Self::new(test);
        scene.usual_ends();
        scene
    }

    /// The two ends of the usual one.
    pub fn usual_ends(&mut self) -> &mut Self {
        self.trunk("carrier-a", "udp", super::place::CARRIER_A, "").usual_tenant()
    }

    /// Writes the configuration and starts the gateway.
    pub fn start(&self) -> Gateway {
        let config = self.write();
        Gateway::start_faster(&config, self.state(), self.place.at(ADMIN, 8080), self.times)
    }

    /// Starts another gateway that takes over from the one that runs.
    pub fn upgrade(&self) -> Gateway {
        let config = self.write();
        Gateway::upgrade(&config, self.state(), self.place.at(ADMIN, 8080))
    }

    /// The gateway's state directory.
    pub fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    pub fn write(&self) -> PathBuf {
        let dir = self.dir();
        let tenants = dir.join("tenants.d");
        fs::create_dir_all(&tenants).unwrap();
        for (name, text) in &self.tenants {
            fs::write(tenants.join(format!("{name}.toml")), text).unwrap();
        }
        let path = dir.join("gateway.toml");
        fs::write(&path, self.text()).unwrap();
        path
    }

    fn text(&self) -> String {
        let (edge, carrier) = (self.place.ip(EDGE), self.place.ip(CARRIER_SIDE));
        let advertise =
            self.advertise.map(|ip| format!("advertise = \"{ip}\"")).unwrap_or_default();
        let also = if advertise.is_empty() { String::new() } else { format!(", {advertise}") };
        let hosts: Vec<_> =
            self.hosts.iter().map(|(n, ip)| format!("\"{n}\" = [\"{ip}\"]")).collect();
        format!(
            r#"schema = 1

[gateway]
node = "a"
fqdn = "{FQDN}"
state = "state"
tenants = "tenants.d"
{gateway_keys}

[tls]
certificate = "{certificate}"
key = "{key}"

[teams]
listen = "{edge}:5061"
proxies = {proxies:?}
port = 5061
certificate_names = ["sip.teams.test"]
roots = "{roots}"
networks = [{teams_net}]
{advertise}

[carrier]
listen = ["udp:{carrier}:5060", "tcp:{carrier}:5060", "tls:{carrier}:5071"]
roots = "{ca}"
{advertise}
{carrier_keys}

[media]
teams = {{ address = "{edge}", ports = "{ports}"{also} }}
carrier = {{ address = "{carrier}", ports = "{ports}"{also} }}
{media}
workers = 1

[admin]
listen = "{admin}"

[dns]
hosts = {{ {hosts} }}
servers = ["{dns}"]
{trunks}"#,
            certificate = self.certificate.0.display(),
            key = self.certificate.1.display(),
            proxies = &PROXIES[..self.proxies],
            roots = self.roots.display(),
            ca = self.ca().display(),
            teams_net = self.teams_net,
            admin = self.place.at(ADMIN, 8080),
            hosts = hosts.join(", "),
            dns = self.place.at(DNS, 53),
            media = self.media,
            ports = self.ports,
            gateway_keys = self.gateway_keys,
            carrier_keys = self.carrier_keys,
            trunks = self.trunks,
        )
    }

    /// Raw proxies that answer OPTIONS without Contact.
    pub fn teams(&self) -> Teams {
        self.teams_with(self.proxies, Box::new(options_without_contact))
    }

    pub fn teams_with(&self, proxies: usize, auto: Box<Auto>) -> Teams {
        let leaf = Leaf::teams("teams.test").key(KeyKind::EcdsaP256);
        let identity = self.pki.issue("teams", &leaf).unwrap();
        let server = tls::server(&identity, &self.ca());
        Teams::start(self, proxies, auto, &identity, server)
    }

    pub fn carrier_udp(&self, host: u8) -> Carrier {
        self.carrier_udp_with(host, Box::new(options))
    }

    /// A carrier over UDP that answers by itself what `auto` takes.
    pub fn carrier_udp_with(&self, host: u8, auto: Box<Auto>) -> Carrier {
        let mut end = End::new(Inbox::new("carrier", auto));
        end.listen_udp(self.place.at(host, 5060));
        let flow = end.udp_to(self.place.at(CARRIER_SIDE, 5060));
        Carrier::new(self.place, self.place.at(host, 5060), end, flow)
    }

    /// A trunk over UDP at any address, which speaks to that listener.
    pub fn carrier_udp_at(&self, address: SocketAddr, gate: SocketAddr) -> Carrier {
        let mut end = End::new(Inbox::new("carrier", Box::new(options)));
        end.listen_udp(address);
        let flow = end.udp_to(gate);
        Carrier::new(self.place, address, end, flow)
    }

    /// A trunk over TLS, known by that name.
    pub fn carrier_tls(&self, host: u8, name: &str) -> Carrier {
        let leaf = Leaf::new([name]).key(KeyKind::EcdsaP256);
        let identity = self.pki.issue(name, &leaf).unwrap();
        let mut end = End::new(Inbox::new("carrier", Box::new(options)));
        let server = tls::server(&identity, &self.ca());
        end.listen_tls(self.place.at(host, 5061), server);
        let client = tls::client(Some(&identity), &self.ca());
        let flow = end
            .connect_tls(self.place.ip(host), self.place.at(CARRIER_SIDE, 5071), FQDN, &client)
            .unwrap_or_else(|why| panic!("TLS to the realm: {why}"));
        let mut carrier = Carrier::new(self.place, self.place.at(host, 5060), end, flow);
        carrier.persona.sent_by = format!("{name}:5061");
        carrier.persona.contact = format!("<sip:{name}:5061;transport=tls>");
        carrier
    }

    /// Another name that the gateway finds at a host of this place.
    pub fn host(&mut self, name: &str, host: u8) -> &mut Self {
        self.hosts.insert(name.to_owned(), self.place.ip(host));
        self
    }

    /// From now on every name is looked up.
    pub fn forget_hosts(&mut self) -> &mut Self {
        self.hosts.clear();
        self
    }

    /// A file beside the configuration.
    pub fn file(&mut self, name: &str, text: &str) -> &mut Self {
        let path = self.dir().join(name);
        fs::create_dir_all(path.parent().expect("a directory")).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Listens for the gateway and has a connection of its own to it, so start that first.
    pub fn carrier_tcp(&self, host: u8) -> Carrier {
        self.carrier_tcp_with(host, Box::new(options))
    }

    /// The same; it answers by itself what `auto` takes.
    pub fn carrier_tcp_with(&self, host: u8, auto: Box<Auto>) -> Carrier {
        let mut end = End::new(Inbox::new("carrier", auto));
        end.listen_tcp(self.place.at(host, 5060));
        let flow = end.connect_tcp(self.place.ip(host), self.place.at(CARRIER_SIDE, 5060));
        Carrier::new(self.place, self.place.at(host, 5060), end, flow)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("--- kept: {}", dir.keep().display());
        }
    }
}

/// The raw end on the Teams side: proxies and their outgoing connections.
pub struct Teams {
    pub end: End,
    pub inbox: Arc<Inbox>,
    pub persona: Persona,
    pub client: Arc<ClientConfig>,
    pub place: Place,
}

/// As it stands in what Teams sends.
pub const TEAMS_CONTACT: &str = "<sip:api-du-a-usea.teams.test:443;x-i=6b2c5fc2-9a3e-5a0d-8e4b-1f0a7c3d2e10;x-c=6b2c5fc29a3e5a0d8e4b1f0a7c3d2e10/s/1/0f1e2d3c4b5a69788796a5b4c3d2e1f0>";

impl Teams {
    pub fn start(
        scene: &Scene,
        proxies: usize,
        auto: Box<Auto>,
        identity: &Identity,
        server: Arc<ServerConfig>,
    ) -> Self {
        let inbox = Inbox::new("teams", auto);
        let mut end = End::new(Arc::clone(&inbox));
        for host in (PROXY..).take(proxies) {
            end.listen_tls(scene.place.at(host, 5061), Arc::clone(&server));
        }
        let persona = Persona {
            inbox: Arc::clone(&inbox),
            sent_by: "sip.teams.test:5061".to_owned(),
            contact: TEAMS_CONTACT.to_owned(),
            extra: "USER-AGENT: Microsoft.PSTNHub.SIPProxy v.2024.2.6.5 i.USEA.5\r\nALLOW: INVITE,ACK,OPTIONS,CANCEL,BYE,NOTIFY\r\n".to_owned(),
            record_route: Some("<sip:sip.teams.test:5061;transport=tls;lr>".to_owned()),
        };
        let client = tls::client(Some(identity), &scene.ca());
        Self { end, inbox, persona, client, place: scene.place }
    }

    /// A new connection to the edge under that name.
    pub fn connect(&self, sni: &str) -> Flow {
        self.connect_from(PROXY, sni)
    }

    pub fn connect_from(&self, host: u8, sni: &str) -> Flow {
        self.end
            .connect_tls(self.place.ip(host), self.place.at(EDGE, 5061), sni, &self.client)
            .unwrap_or_else(|why| panic!("TLS to the edge as {sni}: {why}"))
    }

    /// INVITE from a user of the tenant behind `fqdn` to `called`.
    pub fn call(&self, flow: &Flow, fqdn: &str, caller: &str, called: &str, sdp: &str) -> Dialog {
        self.call_with(flow, fqdn, [caller, called], "", sdp)
    }

    /// The same with further header lines.
    pub fn call_with(
        &self,
        flow: &Flow,
        fqdn: &str,
        [caller, called]: [&str; 2],
        extra: &str,
        sdp: &str,
    ) -> Dialog {
        Dialog::invite(
            &self.persona,
            flow,
            &Invite {
                uri: &format!("sip:{called}@{fqdn}:5061;user=phone;transport=tls"),
                from: &format!("<sip:{caller}@sip.teams.test:5061;user=phone>"),
                to: &format!("<sip:{called}@{fqdn}:5061;user=phone>"),
                extra,
                sdp,
            },
        )
    }

    /// OPTIONS as Teams sends it; gives its Call-ID.
    pub fn ping(&self, flow: &Flow, fqdn: &str) -> String {
        let call_id = token("options-");
        flow.send(format!(
            "OPTIONS sip:{fqdn}:5061;transport=tls SIP/2.0\r\nFROM: <sip:sip-du-a-eu.teams.test:5061>;tag={call_id}\r\n\
             TO: <sip:{fqdn}>\r\nCSEQ: 1 OPTIONS\r\nCALL-ID: {call_id}\r\nMAX-FORWARDS: 70\r\n\
             VIA: SIP/2.0/TLS sip.teams.test:5061;branch=z9hG4bK{call_id}\r\n\
             CONTACT: <sip:sip-du-a-eu.teams.test:5061>\r\nUSER-AGENT: Microsoft.PSTNHub.SIPProxy v.2024.2.6.5 i.USEA.5\r\n\
             ALLOW: INVITE,ACK,OPTIONS,CANCEL,BYE,NOTIFY\r\nCONTENT-LENGTH: 0\r\n\r\n"
        ));
        call_id
    }

    /// The next INVITE from the gateway.
    pub fn invited(&self) -> (Received, Dialog) {
        invited(&self.inbox, &self.persona)
    }

    pub fn not_invited(&self) {
        self.inbox.nothing("an INVITE", |r| r.msg.is_request() && r.msg.method() == "INVITE");
    }

    /// TR-075 and more, on everything that came so far.
    pub fn audit(&self) -> Vec<String> {
        let mut faults = self.inbox.faults();
        for received in self.inbox.all() {
            for fault in audit::anywhere(&received.msg)
                .into_iter()
                .chain(audit::towards_teams(&received.msg))
            {
                faults.push(format!("{fault} in\n{}", received.msg));
            }
        }
        faults
    }
}

impl Drop for Teams {
    fn drop(&mut self) {
        if !thread::panicking() {
            let faults = self.audit();
            assert!(faults.is_empty(), "towards Teams: {}", faults.join("\n"));
        }
    }
}

/// A raw end that is a trunk.
pub struct Carrier {
    _end: End,
    pub inbox: Arc<Inbox>,
    pub persona: Persona,
    pub flow: Flow,
    pub place: Place,
    /// What it calls the gateway by.
    pub gate: String,
    address: SocketAddr,
}

impl Carrier {
    fn new(place: Place, address: SocketAddr, end: End, flow: Flow) -> Self {
        let inbox = Arc::clone(&end.inbox);
        let transport = flow.transport().to_ascii_lowercase();
        let persona = Persona {
            contact: format!("<sip:{address};transport={transport}>"),
            extra: "User-Agent: raw carrier\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n"
                .to_owned(),
            ..Persona::at(address, &inbox)
        };
        let gate = flow.remote().to_string();
        Self { _end: end, inbox, persona, flow, place, gate, address }
    }

    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Its address as the host of a URI.
    fn host(&self) -> String {
        match self.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }
    }

    /// INVITE to a number at the gateway.
    pub fn call(&self, caller: &str, called: &str, sdp: &str) -> Dialog {
        self.call_with(caller, called, "", sdp)
    }

    pub fn call_with(&self, caller: &str, called: &str, extra: &str, sdp: &str) -> Dialog {
        let (gateway, host) = (&self.gate, self.host());
        Dialog::invite(
            &self.persona,
            &self.flow,
            &Invite {
                uri: &format!("sip:{called}@{gateway}"),
                from: &format!("<sip:{caller}@{host}>"),
                to: &format!("<sip:{called}@{gateway}>"),
                extra,
                sdp,
            },
        )
    }

    pub fn invited(&self) -> (Received, Dialog) {
        invited(&self.inbox, &self.persona)
    }

    pub fn not_invited(&self) {
        self.inbox.nothing("an INVITE", |r| r.msg.is_request() && r.msg.method() == "INVITE");
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if !thread::panicking() {
            let mut faults = self.inbox.faults();
            for received in self.inbox.all() {
                let found = audit::anywhere(&received.msg);
                faults
                    .extend(found.into_iter().map(|fault| format!("{fault} in\n{}", received.msg)));
            }
            assert!(faults.is_empty(), "towards a trunk: {}", faults.join("\n"));
        }
    }
}

fn invited(inbox: &Inbox, persona: &Persona) -> (Received, Dialog) {
    let received = inbox.take("INVITE", |r| {
        r.msg.is_request() && r.msg.method() == "INVITE" && r.msg.to_tag().is_none()
    });
    let dialog = Dialog::answering(persona, &received);
    dialog.reply(&received, "100 Trying", "", "");
    (received, dialog)
}

/// 200 as Teams sends it: capitals, Allow, Server, no Contact.
pub fn options_without_contact(received: &Received) -> bool {
    answer_options(received, "")
}

fn options(received: &Received) -> bool {
    answer_options(received, "")
}

pub fn answer_options(received: &Received, extra: &str) -> bool {
    answer_options_by(received, "200 OK", extra)
}

/// The same with another status.
pub fn answer_options_by(received: &Received, status: &str, extra: &str) -> bool {
    let msg = &received.msg;
    if !(msg.is_request() && msg.method() == "OPTIONS") {
        return false;
    }
    let mut text = format!("SIP/2.0 {status}\r\n");
    for via in msg.all("Via") {
        write!(text, "VIA: {via}\r\n").unwrap();
    }
    write!(
        text,
        "FROM: {}\r\nTO: {};tag=o1\r\nCALL-ID: {}\r\nCSEQ: {}\r\nALLOW: INVITE,ACK,OPTIONS,CANCEL,BYE,NOTIFY\r\n{extra}CONTENT-LENGTH: 0\r\n\r\n",
        msg.need("From"),
        msg.need("To"),
        msg.call_id(),
        msg.need("CSeq")
    )
    .unwrap();
    drop(received.flow.try_send(text.as_bytes()));
    true
}
