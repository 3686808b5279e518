//! The few things of EC2 that the connector reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::xml::{Element, XmlError};

#[derive(Clone, Debug)]
pub struct Instance {
    pub id: String,
    /// `pending`, `running`, `shutting-down`, `terminated`, `stopping` or `stopped`.
    pub state: String,
    pub name: Option<String>,
    pub instance_type: Option<String>,
    pub image: Option<String>,
    pub vpc: Option<String>,
    pub private_address: Option<String>,
    pub public_address: Option<String>,
    /// `ebs` or `instance-store`.
    pub root_device: Option<String>,
    /// `spot` or `scheduled`; none for one that was started on demand.
    pub lifecycle: Option<String>,
    pub security_groups: Vec<String>,
    /// EBS volumes that are attached.
    pub volumes: Vec<String>,
}

impl Instance {
    pub(super) fn read(element: &Element) -> Result<Self, XmlError> {
        let text = |name: &str| element.text(name).map(str::to_owned);
        let state = element.child("instanceState").ok_or(XmlError::Missing("instanceState"))?;
        let groups = element.items("groupSet").map(|group| group.required("groupId"));
        let devices = element.items("blockDeviceMapping");
        let volumes = devices.filter_map(|device| device.child("ebs"));
        let mut volumes: Vec<_> =
            volumes.map(|ebs| ebs.required("volumeId")).collect::<Result<_, _>>()?;
        volumes.sort();
        Ok(Self {
            id: element.required("instanceId")?,
            state: state.required("name")?,
            name: tag(element, "Name"),
            instance_type: text("instanceType"),
            image: text("imageId"),
            vpc: text("vpcId"),
            private_address: text("privateIpAddress"),
            public_address: text("ipAddress"),
            root_device: text("rootDeviceType"),
            lifecycle: text("instanceLifecycle"),
            security_groups: groups.collect::<Result<_, _>>()?,
            volumes,
        })
    }
}

#[derive(Clone, Debug)]
pub struct Volume {
    pub id: String,
    pub name: Option<String>,
    pub state: Option<String>,
    pub size_gib: Option<String>,
    pub volume_type: Option<String>,
    pub encrypted: bool,
    pub instances: Vec<String>,
}

impl Volume {
    pub(super) fn read(element: &Element) -> Result<Self, XmlError> {
        let text = |name: &str| element.text(name).map(str::to_owned);
        let attached = element.items("attachmentSet");
        Ok(Self {
            id: element.required("volumeId")?,
            name: tag(element, "Name"),
            state: text("status"),
            size_gib: text("size"),
            volume_type: text("volumeType"),
            encrypted: element.text("encrypted") == Some("true"),
            instances: attached.filter_map(|a| a.text("instanceId")).map(str::to_owned).collect(),
        })
    }
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    pub id: String,
    pub volume: String,
    /// `pending`, `completed`, `error`, `recoverable` or `recovering`.
    pub state: String,
    /// Value of the tag that was asked for.
    pub tag: String,
}

impl Snapshot {
    pub(super) fn read(element: &Element, name: &str) -> Result<Self, XmlError> {
        Ok(Self {
            id: element.required("snapshotId")?,
            volume: element.required("volumeId")?,
            state: element.required("status")?,
            tag: tag(element, name).unwrap_or_default(),
        })
    }
}

#[derive(Clone, Debug)]
pub struct SecurityGroup {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub vpc: Option<String>,
    /// How many rules it has: one for each source or destination.
    pub rules: usize,
}

/// Whether a rule is for what comes in or what goes out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What comes in.
    Ingress,
    /// What goes out.
    Egress,
}

/// One rule of a security group.
#[derive(Clone, Debug)]
pub struct Rule {
    pub direction: Direction,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, the number of another protocol, or `-1` for all.
    pub protocol: String,
    /// First and last port, or ICMP type and code; -1 for all.
    pub ports: (i64, i64),
    /// Of whom: a CIDR block, a security group (`sg-…`) or a prefix list (`pl-…`).
    pub peer: String,
    pub description: Option<String>,
    pub tags: BTreeMap<String, String>,
}

impl Rule {
    pub(super) fn read(element: &Element) -> Result<Self, XmlError> {
        let port = |name| element.text(name).and_then(|port| port.parse().ok()).unwrap_or(-1);
        let group = || element.child("referencedGroupInfo")?.text("groupId");
        let peers = ["cidrIpv4", "cidrIpv6", "prefixListId"];
        let peer = peers.iter().find_map(|name| element.text(name)).or_else(group);
        let egress = element.required("isEgress")? == "true";
        let tags = element.items("tagSet").map(|tag| {
            Ok::<_, XmlError>((
                tag.required("key")?,
                tag.text("value").unwrap_or_default().to_owned(),
            ))
        });
        Ok(Self {
            direction: if egress { Direction::Egress } else { Direction::Ingress },
            protocol: element.required("ipProtocol")?,
            ports: (port("fromPort"), port("toPort")),
            peer: peer.ok_or(XmlError::Missing("the peer of a rule"))?.to_owned(),
            description: element.text("description").map(str::to_owned),
            tags: tags.collect::<Result<_, _>>()?,
        })
    }
}

impl SecurityGroup {
    pub(super) fn read(element: &Element) -> Result<Self, XmlError> {
        let permissions = ["ipPermissions", "ipPermissionsEgress"].map(|list| element.items(list));
        let peers = |permission: &Element| {
            let lists = ["ipRanges", "ipv6Ranges", "groups", "prefixListIds"];
            lists.map(|list| permission.items(list).count()).iter().sum::<usize>()
        };
        let text = |name: &str| element.text(name).map(str::to_owned);
        Ok(Self {
            id: element.required("groupId")?,
            name: element.required("groupName")?,
            description: text("groupDescription"),
            vpc: text("vpcId"),
            rules: permissions.into_iter().flatten().map(peers).sum(),
        })
    }
}

fn tag(element: &Element, key: &str) -> Option<String> {
    let found = element.items("tagSet").find(|tag| tag.text("key") == Some(key))?;
    found.text("value").map(str::to_owned)
}
