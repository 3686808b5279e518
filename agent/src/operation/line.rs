//! What may cut the agent's own line to the control plane: files, units and settings of which it depends.
//!
//! Generous on purpose. What is on the list and leaves the line alone costs one more question to the control
//! plane; what is missing may cost a host that nobody reaches any more.

use crate::host::{HostPath, SysctlKey, UnitName};

/// Beginnings of paths: addresses, routes, names, filters, and what the kernel and systemd are told.
const PATHS: &[&str] = &[
    "/etc/apparmor",
    "/etc/bind/",
    "/etc/bird",
    "/etc/cloud/",
    "/etc/connman",
    "/etc/default/",
    "/etc/dhc",
    "/etc/dnsmasq",
    "/etc/ethers",
    "/etc/fail2ban/",
    "/etc/ferm/",
    "/etc/firewall",
    "/etc/frr/",
    "/etc/gai.conf",
    "/etc/host",
    "/etc/ifplugd/",
    "/etc/init.d/",
    "/etc/ip6tables",
    "/etc/iproute2/",
    "/etc/ipsec",
    "/etc/iptables",
    "/etc/keepalived/",
    "/etc/ld.so",
    "/etc/modprobe",
    "/etc/modules",
    "/etc/netconfig",
    "/etc/netgroup",
    "/etc/netplan/",
    "/etc/network",
    "/etc/NetworkManager/",
    "/etc/nftables",
    "/etc/nscd",
    "/etc/nsswitch.conf",
    "/etc/openvpn/",
    "/etc/ppp/",
    "/etc/protocols",
    "/etc/quagga/",
    "/etc/resolv",
    "/etc/rc.local",
    "/etc/selinux/",
    "/etc/services",
    "/etc/shorewall",
    "/etc/ssh/",
    "/etc/sssd/",
    "/etc/strongswan",
    "/etc/stunnel/",
    "/etc/swanctl/",
    "/etc/sysconfig/",
    "/etc/sysctl",
    "/etc/systemd/",
    "/etc/udev/",
    "/etc/ufw/",
    "/etc/unbound/",
    "/etc/wireguard/",
    "/etc/wpa_supplicant",
    "/lib/",
    "/run/",
    "/usr/lib/",
    "/usr/local/lib/",
];

/// Parts of names of units.
const UNITS: &[&str] = &[
    "apparmor",
    "autossh",
    "bind",
    "bird",
    "cloud",
    "connman",
    "containerd",
    "crowdsec",
    "dhc",
    "dns",
    "docker",
    "ebtables",
    "fail2ban",
    "ferm",
    "fire",
    "frr",
    "ifplug",
    "ifup",
    "ip6tables",
    "ipsec",
    "iptables",
    "keepalived",
    "libvirt",
    "lxc",
    "lxd",
    "modules-load",
    "named",
    "net",
    "nft",
    "nscd",
    "podman",
    "ppp",
    "proxy",
    "quagga",
    "resolv",
    "selinux",
    "shorewall",
    "ssh",
    "sssd",
    "swan",
    "sysctl",
    "tailscale",
    "tunnel",
    "udev",
    "ufw",
    "unbound",
    "vpn",
    "wg-",
    "wireguard",
    "wpa",
    "zerotier",
];

pub(super) fn hangs_on_file(path: &HostPath) -> bool {
    let path = path.to_string();
    PATHS.iter().any(|beginning| path.starts_with(beginning))
}

pub(super) fn hangs_on_unit(unit: &UnitName) -> bool {
    let unit = unit.as_str().to_ascii_lowercase();
    UNITS.iter().any(|part| unit.contains(part))
}

pub(super) fn hangs_on_setting(key: &SysctlKey) -> bool {
    key.as_str().starts_with("net.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_hangs_on_networks_names_and_filters() {
        for path in [
            "/etc/network/interfaces",
            "/etc/network/interfaces.d/eth0",
            "/etc/systemd/network/10-eth0.network",
            "/etc/systemd/resolved.conf",
            "/etc/netplan/50-cloud-init.yaml",
            "/etc/nftables.conf",
            "/etc/resolv.conf",
            "/etc/hosts",
            "/etc/nsswitch.conf",
            "/etc/sysctl.d/99-x.conf",
        ] {
            assert!(hangs_on_file(&path.parse().unwrap()), "{path}");
        }
        for path in ["/etc/motd", "/srv/www/index.html", "/home/me/etc/hosts", "/etc/app.conf"] {
            assert!(!hangs_on_file(&path.parse().unwrap()), "{path}");
        }
        for unit in [
            "networking.service",
            "NetworkManager.service",
            "systemd-networkd.socket",
            "nftables.service",
            "wg-quick@wg0.service",
            "systemd-resolved.service",
            "openvpn-client@office.service",
            "docker.socket",
        ] {
            assert!(hangs_on_unit(&unit.parse().unwrap()), "{unit}");
        }
        for unit in ["cron.service", "rsync.service", "postgresql.service", "apt-daily.timer"] {
            assert!(!hangs_on_unit(&unit.parse().unwrap()), "{unit}");
        }
        assert!(hangs_on_setting(&"net.ipv6.conf.all.disable_ipv6".parse().unwrap()));
        assert!(!hangs_on_setting(&"vm.swappiness".parse().unwrap()));
    }
}
