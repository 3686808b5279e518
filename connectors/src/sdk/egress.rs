//! Where connectors may connect to: one guard for every outbound connection.
//!
//! A name is resolved once, the addresses are checked, and the checked address is what is connected
//! to, so a name that answers differently the second time gains nothing. Refused always, unless an
//! address is listed by configuration: link-local (RFC 3927, RFC 4291 §2.5.6), the clouds' metadata
//! addresses, unspecified, multicast and broadcast. Unix sockets are refused altogether.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

use super::error::{Advice, ConnectorError, ErrorKind};
use super::secret::SecretText;
use super::tls::bare;

/// How long one address may take, so that a dead one does not use up the time of the next.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// What configuration says about outbound connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRules {
    /// 127.0.0.0/8 and ::1.
    pub allow_loopback: bool,
    /// RFC 1918, RFC 4193 and RFC 6598 addresses.
    pub allow_private: bool,
    /// Addresses that are allowed whatever the other rules say.
    pub allow: Vec<IpAddr>,
}

impl Default for EgressRules {
    fn default() -> Self {
        Self { allow_loopback: true, allow_private: true, allow: Vec::new() }
    }
}

/// Hosts and ports that something may be sent to: `db.example.org:5432`, `[2001:db8::1]:5432`, or
/// `*.amazonaws.com:443` for every name below a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations(Vec<(String, u16)>);

impl Destinations {
    /// Reads them from a text: separated by spaces, commas or lines; `#` begins a remark. Errors: which one is none, or
    /// that there is none at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(said, _)| said));
        let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || c == ','));
        let one = |word: &str| {
            let (host, port) = word.rsplit_once(':')?;
            let name = normal(host);
            let below = name.strip_prefix("*.").unwrap_or(&name);
            let is_address = host.starts_with('[') && host.ends_with(']');
            let fits =
                !below.is_empty() && !below.contains('*') && (is_address || !below.contains(':'));
            fits.then_some((name, port.parse().ok()?))
        };
        let all = words
            .filter(|word| !word.is_empty())
            .map(|word| one(word).ok_or_else(|| format!("'{word}' is not host:port")))
            .collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() { Err("it names no host:port".to_owned()) } else { Ok(Self(all)) }
    }

    fn has(&self, host: &str, port: u16) -> bool {
        let host = normal(host);
        self.0.iter().any(|(allowed, at)| {
            let is_it = allowed.strip_prefix('*').map_or_else(
                || *allowed == host,
                |domain| host.strip_suffix(domain).is_some_and(|name| !name.is_empty()),
            );
            is_it && *at == port
        })
    }
}

/// A secret that is kept elsewhere, and where it may be used.
#[derive(Debug)]
pub struct Lent {
    pub text: SecretText,
    /// Nothing else may be reached by a session that has it.
    pub destinations: Destinations,
}

/// One spelling of a name or an address (RFC 4343: case does not matter; RFC 1034 §3.1: the root's dot at the end).
fn normal(host: &str) -> String {
    let host = bare(host);
    match host.parse::<IpAddr>() {
        Ok(address) => embedded(address).to_string(),
        Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
    }
}

/// The guard.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    rules: EgressRules,
    /// With what may go nowhere else, in words.
    only: Vec<(String, Destinations)>,
}

impl Egress {
    pub const fn new(rules: EgressRules) -> Self {
        Self { rules, only: Vec::new() }
    }

    /// The same guard, which lets through only what goes to one of the destinations. `what` says in words what it is
    /// that may not go elsewhere. Of several such limits all hold.
    #[must_use]
    pub fn only_to(mut self, what: String, destinations: Destinations) -> Self {
        self.only.push((what, destinations));
        self
    }

    /// Connects to `host`: a name or an address, no path. Tries the allowed addresses in the order of
    /// the resolver. Errors: `Refused`, `Invalid`, `Unreachable`; the caller's time limit applies.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectorError> {
        let addresses = self.resolve(host, port).await?;
        let mut last = None;
        for address in addresses {
            match tokio::time::timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = Some((address, error)),
                Err(_) => last = Some((address, std::io::ErrorKind::TimedOut.into())),
            }
        }
        let message = match &last {
            Some((address, _)) => format!("no connection to {host} ({address})"),
            None => format!("'{host}' has no address"),
        };
        let error = ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message);
        Err(match last {
            Some((_, cause)) => error.because(cause),
            None => error,
        })
    }

    /// The addresses of `host` that may be connected to; at least one.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectorError> {
        if host.is_empty() || host.contains(['/', '\\', '@', '\0']) {
            return Err(refused("the host must be a name or an address, not a path".to_owned()));
        }
        if let Some((what, _)) = self.only.iter().find(|(_, only)| !only.has(host, port)) {
            return Err(refused(format!(
                "{what} may not be used at {host}:{port}; whoever keeps the secret says beside it where it may be used"
            )));
        }
        let found: Vec<_> = tokio::net::lookup_host((bare(host), port))
            .await
            .map_err(|error| {
                let message = format!("the name '{host}' cannot be resolved");
                ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message).because(error)
            })?
            .collect();
        let mut refusal = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(why) => refusal = Some((address.ip(), why)),
            }
        }
        match (allowed.is_empty(), refusal) {
            (false, _) => Ok(allowed),
            (true, Some((address, why))) => Err(refused(format!(
                "connections to {why} are not allowed ('{host}' is {address}); \
                 an administrator can allow the address in the configuration"
            ))),
            (true, None) => {
                let message = format!("'{host}' has no address");
                Err(ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message))
            }
        }
    }

    /// Whether an address may be connected to; else what it is.
    pub fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        let address = embedded(address);
        if self.rules.allow.iter().any(|&allowed| embedded(allowed) == address) {
            return Ok(());
        }
        if METADATA.contains(&address) {
            return Err("a cloud metadata address");
        }
        match address {
            _ if address.is_unspecified() => Err("the unspecified address"),
            _ if address.is_multicast() => Err("multicast addresses"),
            _ if address.is_loopback() && !self.rules.allow_loopback => Err("loopback addresses"),
            IpAddr::V4(v4) if v4.is_link_local() => Err("link-local addresses"),
            IpAddr::V4(v4) if v4.is_broadcast() || v4.octets().first() == Some(&0) => {
                Err("broadcast addresses")
            }
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Err("link-local addresses"),
            _ if is_private(address) && !self.rules.allow_private => Err("private addresses"),
            IpAddr::V4(_) | IpAddr::V6(_) => Ok(()),
        }
    }
}

/// Metadata addresses outside the link-local ranges: AWS (IPv6, and its agent for pods), GCP (IPv6), OCI (IPv6),
/// Alibaba, Azure's wire server, OCI.
const METADATA: [IpAddr; 7] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// The IPv4 address inside an IPv6 one: mapped and compatible (RFC 4291 §2.5.5), translated (RFC 2765 §2.1), NAT64
/// (RFC 6052 §2.1, RFC 8215), 6to4 (RFC 3056). Otherwise the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, .., high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x2002, high, low, ..] => join(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => join(high, low),
        _ => address,
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

fn refused(message: String) -> ConnectorError {
    ConnectorError::new(ErrorKind::Refused, Advice::Never, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(rules: EgressRules, address: &str) -> bool {
        Egress::new(rules).check(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn dangerous_addresses_are_refused_in_every_spelling() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(!ok(EgressRules::default(), address), "{address}");
        }
    }

    #[test]
    fn ordinary_addresses_are_allowed() {
        for address in ["127.0.0.1", "::1", "10.0.0.5", "192.168.1.1", "93.184.216.34", "fd12::1"] {
            assert!(ok(EgressRules::default(), address), "{address}");
        }
    }

    #[test]
    fn loopback_and_private_can_be_forbidden_and_single_addresses_allowed() {
        let strict = || EgressRules { allow_loopback: false, allow_private: false, allow: vec![] };
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.5", "100.64.0.1", "fd12::1"]
        {
            assert!(!ok(strict(), address), "{address}");
        }
        let allow = vec!["169.254.169.254".parse().unwrap()];
        assert!(ok(EgressRules { allow, ..strict() }, "::ffff:169.254.169.254"));
    }

    #[test]
    fn destinations_are_hosts_with_ports_in_any_spelling() {
        let all = "DB.example.org.:5432, *.amazonaws.com:443 # of the cloud\n[2001:DB8:0::1]:389\n10.0.0.1:22";
        let all = Destinations::parse(all).unwrap();
        for (host, port) in [
            ("db.example.org", 5432),
            ("Db.Example.Org.", 5432),
            ("iam.amazonaws.com", 443),
            ("a.b.amazonaws.com", 443),
            ("2001:db8::1", 389),
            ("[2001:db8::0:1]", 389),
            ("10.0.0.1", 22),
            ("::ffff:10.0.0.1", 22),
        ] {
            assert!(all.has(host, port), "{host}:{port}");
        }
        for (host, port) in [
            ("db.example.org", 5433),
            ("x.db.example.org", 5432),
            ("xdb.example.org", 5432),
            ("db.example.org.evil.example", 5432),
            ("amazonaws.com", 443),
            ("evilamazonaws.com", 443),
            (".amazonaws.com", 444),
            ("iam.amazonaws.com", 80),
            ("2001:db8::2", 389),
            ("10.0.0.10", 22),
            ("", 22),
        ] {
            assert!(!all.has(host, port), "{host}:{port}");
        }
        for text in [
            "",
            " \n# nothing",
            "db.example.org",
            "db:x",
            "db:70000",
            ":5432",
            "*:443",
            "*.*.org:1",
            "a*b:1",
            "a:b:1",
            "2001:db8::1:389",
        ] {
            assert!(Destinations::parse(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn what_may_go_to_one_place_goes_to_no_other() {
        let to = |text: &str| Destinations::parse(text).unwrap();
        let guard =
            Egress::default().only_to("the file x".to_owned(), to("127.0.0.1:1 127.0.0.1:2"));
        assert!(guard.resolve("127.0.0.1", 1).await.is_ok());
        let error = guard.resolve("127.0.0.1", 3).await.unwrap_err();
        assert_eq!((error.kind, error.advice), (ErrorKind::Refused, Advice::Never));
        assert!(error.message.starts_with("the file x may not be used at 127.0.0.1:3"), "{error}");
        let both = guard.only_to("the file y".to_owned(), to("127.0.0.1:2"));
        assert!(both.resolve("127.0.0.1", 2).await.is_ok());
        assert!(both.resolve("127.0.0.1", 1).await.is_err());
        // Names are compared before anybody is asked about them.
        assert_eq!(both.resolve("no.such.invalid", 2).await.unwrap_err().kind, ErrorKind::Refused);
    }

    #[tokio::test]
    async fn paths_are_refused_and_names_are_checked_after_resolving() {
        let guard = Egress::new(EgressRules { allow_loopback: false, ..EgressRules::default() });
        for host in ["/var/run/postgresql", "", "@abstract", "localhost", "127.1", "[::1]"] {
            let error = guard.resolve(host, 5432).await.expect_err(host);
            assert_eq!(error.kind, ErrorKind::Refused, "{host}: {error}");
        }
    }
}
