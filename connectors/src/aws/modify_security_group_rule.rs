//! `aws.modify_security_group_rule`: one rule more, or one less.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ec2::{Direction, Form, Rule};
use super::error::{Failure, gone, moved};
use super::target::{SECURITY_GROUP, name_of};
use super::{Aws, Session, permission};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, Reversible,
    StepContext, TargetState, check, line,
};

/// Whether the rule is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// It is there afterwards.
    Add,
    /// It is not there afterwards.
    Remove,
}

/// Of which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, on some ports.
    Tcp,
    /// UDP, on some ports.
    Udp,
    /// ICMP, all types.
    Icmp,
    /// ICMPv6, all types.
    Icmpv6,
    /// Every protocol, on all ports.
    All,
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::All => "-1",
        }
    }

    const fn has_ports(self) -> bool {
        match self {
            Self::Tcp | Self::Udp => true,
            Self::Icmp | Self::Icmpv6 | Self::All => false,
        }
    }
}

/// Adds one rule to the security group, or removes it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModifySecurityGroupRule {
    /// Whether the rule is added or removed.
    pub operation: Operation,
    /// Whether the rule is for what comes in or what goes out.
    pub direction: Direction,
    /// Protocol of the packets.
    pub protocol: Protocol,
    /// First port, for tcp and udp.
    #[serde(default)]
    pub from_port: Option<u16>,
    /// Last port, for tcp and udp.
    #[serde(default)]
    pub to_port: Option<u16>,
    /// Where packets come from or go to: a CIDR block (10.0.0.0/8, 2001:db8::/32), a security group
    /// (sg-…) or a prefix list (pl-…).
    #[schemars(length(min = 4, max = 64))]
    pub peer: String,
    /// Text that a rule gets when it is added.
    #[serde(default)]
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[a-zA-Z0-9. _:/()#,@\[\]+=&;{}!$*-]*$")
    )]
    pub description: Option<String>,
}

/// The rule as it is in the group; the outer none when it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

impl Found {
    /// Names of tags that nobody but AWS can give:
    /// <https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html>
    fn reserved(&self) -> Vec<&str> {
        self.tags.keys().map(String::as_str).filter(|key| key.starts_with("aws:")).collect()
    }
}

/// Whether the rule is in the group.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    exists: bool,
    rule: Option<Found>,
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        let rule = self.rule.as_ref().map_or(Value::Null, |rule| json!(rule));
        vec![Field::new("exists", self.exists), Field::new("rule", rule)]
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        json!({ "exists": self.exists, "rule": self.rule })
    }
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

/// Why a text is no peer.
fn peer_fault(peer: &str) -> Option<String> {
    let is_id = |prefix| {
        peer.strip_prefix(prefix).is_some_and(|rest: &str| {
            rest.len() >= 8
                && rest.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase())
        })
    };
    if is_id("sg-") || is_id("pl-") {
        return None;
    }
    let wrong = "peer must be a CIDR block, a security group (sg-…) or a prefix list (pl-…)";
    let Some((address, bits)) = peer.split_once('/') else { return Some(wrong.to_owned()) };
    let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return Some(wrong.to_owned());
    };
    let network = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
            (bits <= 32).then(|| IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask)))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
            (bits <= 128).then(|| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)))
        }
    };
    match network {
        None => Some(format!("no address has {bits} bits of network")),
        // EC2 would store another text than the one that was approved.
        Some(network) if format!("{network}/{bits}") != peer => {
            Some(format!("write the CIDR block as EC2 does: {network}/{bits}"))
        }
        Some(_) => None,
    }
}

impl ModifySecurityGroupRule {
    /// What is wrong with the rule.
    fn fault(&self) -> Option<String> {
        let ports = match (self.from_port, self.to_port, self.protocol.has_ports()) {
            (Some(from), Some(to), true) if from > to => Some("from_port is after to_port"),
            (Some(_), Some(_), true) | (None, None, false) => None,
            (_, _, true) => Some("tcp and udp need from_port and to_port"),
            (_, _, false) => Some("only tcp and udp have ports"),
        };
        ports.map(str::to_owned).or_else(|| peer_fault(&self.peer))
    }

    fn ports(&self) -> (i64, i64) {
        let port = |port: Option<u16>| port.map_or(-1, i64::from);
        (port(self.from_port), port(self.to_port))
    }

    fn is(&self, rule: &Rule) -> bool {
        // EC2 says the ports of "all" in several ways.
        let ports = rule.ports == self.ports() || self.protocol == Protocol::All;
        let same = rule.direction == self.direction && rule.peer == self.peer && ports;
        same && rule.protocol == self.protocol.name()
    }

    /// The rule as the action leaves it. Where it is there already, its tags are as good as any.
    fn wanted(&self, before: Option<&Found>) -> Option<Found> {
        match self.operation {
            Operation::Add => {
                let tags = before.filter(|rule| rule.description == self.description);
                let tags = tags.map(|rule| rule.tags.clone()).unwrap_or_default();
                Some(Found { description: self.description.clone(), tags })
            }
            Operation::Remove => None,
        }
    }

    fn word(&self) -> String {
        let ports = match (self.from_port, self.to_port) {
            (Some(from), Some(to)) if from == to => format!(" {from}"),
            (Some(from), Some(to)) => format!(" {from}-{to}"),
            _ => String::new(),
        };
        let (direction, way) = match self.direction {
            Direction::Ingress => ("ingress", "from"),
            Direction::Egress => ("egress", "to"),
        };
        let protocol = match self.protocol {
            Protocol::All => "all",
            Protocol::Tcp | Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6 => {
                self.protocol.name()
            }
        };
        format!("{direction} {protocol}{ports} {way} {}", self.peer)
    }

    /// The call that makes the rule be there, or not.
    const fn call(&self, there: bool) -> &'static str {
        match (self.direction, there) {
            (Direction::Ingress, true) => "ec2:AuthorizeSecurityGroupIngress",
            (Direction::Egress, true) => "ec2:AuthorizeSecurityGroupEgress",
            (Direction::Ingress, false) => "ec2:RevokeSecurityGroupIngress",
            (Direction::Egress, false) => "ec2:RevokeSecurityGroupEgress",
        }
    }

    fn form(&self, group: &str, rule: Option<&Found>) -> Form {
        let (list, name) = if self.peer.starts_with("sg-") {
            ("Groups", "GroupId")
        } else if self.peer.starts_with("pl-") {
            ("PrefixListIds", "PrefixListId")
        } else if self.peer.contains(':') {
            ("Ipv6Ranges", "CidrIpv6")
        } else {
            ("IpRanges", "CidrIp")
        };
        let mut form = Form::default()
            .with("GroupId", group)
            .with("IpPermissions.1.IpProtocol", self.protocol.name());
        if self.protocol != Protocol::All {
            let (from, to) = self.ports();
            form = form
                .with("IpPermissions.1.FromPort", from.to_string())
                .with("IpPermissions.1.ToPort", to.to_string());
        }
        form = form.with(format!("IpPermissions.1.{list}.1.{name}"), &self.peer);
        let Some(Found { description, tags }) = rule else { return form };
        if let Some(text) = description {
            form = form.with(format!("IpPermissions.1.{list}.1.Description"), text);
        }
        if !tags.is_empty() {
            form = form.with("TagSpecification.1.ResourceType", "security-group-rule");
        }
        for (no, (key, value)) in (1..).zip(tags) {
            let tag = format!("TagSpecification.1.Tag.{no}");
            form = form.with(format!("{tag}.Key"), key).with(format!("{tag}.Value"), value);
        }
        form
    }

    async fn read(&self, session: &Session, group: &str) -> Result<State, ConnectorError> {
        let found = session.ec2.security_group(group).await.map_err(Failure::read)?;
        if found.is_none() {
            return Ok(State { exists: false, rule: None });
        }
        let rules = session.ec2.rules(group).await.map_err(Failure::read)?;
        let rule = rules.into_iter().find(|rule| self.is(rule));
        let rule = rule.map(|rule| Found { description: rule.description, tags: rule.tags });
        Ok(State { exists: true, rule })
    }

    /// Brings the rule from `from` to `to`; answers whether it had to change.
    async fn set(
        &self,
        session: &Session,
        cx: &StepContext,
        from: Option<&Found>,
        to: Option<&Found>,
    ) -> Result<bool, ConnectorError> {
        let group = name_of(&cx.step.target, "security_group/")?;
        if let Some(fault) = self.fault() {
            return Err(ConnectorError::invalid(fault));
        }
        let now = self.read(session, &group).await?;
        if !now.exists {
            return Err(gone(&format!("the security group {group}")));
        }
        if now.rule.as_ref() == to {
            return Ok(false);
        }
        if now.rule.as_ref() != from || (from.is_some() && to.is_some()) {
            return Err(moved(&format!("the rule of {group}")));
        }
        let form = self.form(&group, to);
        session.ec2.change(self.call(to.is_some()), &form).await.map_err(Failure::effect)?;
        Ok(true)
    }
}

impl Action for ModifySecurityGroupRule {
    type Connector = Aws;
    type State = State;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "modify_security_group_rule",
        title: "Add or remove a security group rule",
        description: "Adds one rule to a security group, or removes it. Other rules stay as they are. Connections \
                      that are open stay open where EC2 tracks them.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[SECURITY_GROUP],
        permissions: &[
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSecurityGroupRules",
            "ec2:CreateTags",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:AuthorizeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
            "ec2:RevokeSecurityGroupEgress",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({
            "operation": "add", "direction": "ingress", "protocol": "tcp",
            "from_port": 443, "to_port": 443, "peer": "10.0.0.0/8", "description": "Internal clients"
        })
    }

    async fn snapshot(
        &self,
        session: &Session,
        target: &TargetRef,
    ) -> Result<State, ConnectorError> {
        self.read(session, &name_of(target, "security_group/")?).await
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        state: &State,
    ) -> Result<Vec<Check>, ConnectorError> {
        let group = name_of(target, "security_group/")?;
        let fault = self.fault();
        let ok = fault.is_none();
        let mut checks = vec![
            permission::is_there("the security group", state.exists),
            check("the rule is one", ok, fault.unwrap_or_else(|| self.word())),
        ];
        if !state.exists || !ok {
            return Ok(checks);
        }
        let other = match (&state.rule, self.wanted(state.rule.as_ref())) {
            (Some(found), Some(wanted)) if *found != wanted => Some(
                "it is there with another description: remove it first, or use that description"
                    .to_owned(),
            ),
            (Some(found), None) if !found.reserved().is_empty() => Some(format!(
                "it could not be put back, because only AWS can give its tags {}: remove it with what made it",
                found.reserved().join(", ")
            )),
            _ => None,
        };
        let ok = other.is_none();
        let detail = other.unwrap_or_else(|| "nothing stands in the way".to_owned());
        checks.push(check("the rule can be changed", ok, detail));
        for (there, rule) in [(true, state.rule.as_ref()), (false, None)] {
            let form = self.form(&group, rule);
            checks.push(permission::dry_run(session, self.call(there), &form).await?);
        }
        Ok(checks)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, state: &State) -> Description {
        let (rule, wanted) = (self.word(), self.wanted(state.rule.as_ref()));
        let value = |found: &Option<Found>| found.as_ref().map_or(Value::Null, |rule| json!(rule));
        let (what, back) = match self.operation {
            Operation::Add => ("gets the rule", "The rule is removed again"),
            Operation::Remove => {
                ("loses the rule", "The rule is added again, with its description and its tags")
            }
        };
        Description {
            diff: if state.rule == wanted {
                Vec::new()
            } else {
                vec![line(target, rule.as_str(), value(&state.rule), value(&wanted))]
            },
            summary: format!("Security group {} {what}: {rule}.", target.name),
            rollback: format!("{back}: {rule}."),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let wanted = self.wanted(before.state.rule.as_ref());
        let changed = self.set(session, cx, before.state.rule.as_ref(), wanted.as_ref()).await?;
        Ok(Effect { changed, outcome: Outcome {} })
    }

    fn verify(&self, now: &State, before: &Before<Self>, _: Option<&Outcome>) -> bool {
        now.exists && now.rule == self.wanted(before.state.rule.as_ref())
    }
}

impl Reversible for ModifySecurityGroupRule {
    async fn rollback(
        &self,
        session: &Session,
        cx: &StepContext,
        before: &Before<Self>,
        _: Option<&Outcome>,
    ) -> Result<bool, ConnectorError> {
        let was = before.state.rule.as_ref();
        self.set(session, cx, self.wanted(was).as_ref(), was).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_peers_that_ec2_keeps_word_for_word_are_taken() {
        for good in [
            "0.0.0.0/0",
            "10.1.2.3/32",
            "::/0",
            "2001:db8::/32",
            "sg-0123456789abcdef0",
            "pl-12345678",
        ] {
            assert_eq!(peer_fault(good), None, "{good}");
        }
        for bad in
            ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0", "2001:DB8::/32", "sg-", "pl-XYZ", "anywhere"]
        {
            assert!(peer_fault(bad).is_some(), "{bad}");
        }
        assert!(peer_fault("10.1.2.3/8").unwrap().ends_with("10.0.0.0/8"));
    }

    #[test]
    fn tags_of_aws_are_told_from_those_of_people() {
        let tags = ["aws:cloudformation:stack-name", "owner", "laws:x"];
        let tags = tags.map(|key| (key.to_owned(), "v".to_owned())).into();
        let rule = Found { description: None, tags };
        assert_eq!(rule.reserved(), ["aws:cloudformation:stack-name"]);
    }

    /// Before-states that were stored before tags were read, and their fingerprints, stay as they are.
    #[test]
    fn a_rule_without_tags_is_written_as_ever() {
        let old = json!({ "description": "d" });
        let rule: Found = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(json!(rule), old);
    }

    #[test]
    fn ports_belong_to_tcp_and_udp() {
        let rule = |protocol, from_port, to_port| ModifySecurityGroupRule {
            operation: Operation::Add,
            direction: Direction::Ingress,
            protocol,
            from_port,
            to_port,
            peer: "0.0.0.0/0".to_owned(),
            description: None,
        };
        assert_eq!(rule(Protocol::Tcp, Some(1), Some(2)).fault(), None);
        assert_eq!(rule(Protocol::All, None, None).fault(), None);
        for (protocol, from, to) in [
            (Protocol::Tcp, Some(2), Some(1)),
            (Protocol::Udp, None, None),
            (Protocol::Tcp, Some(1), None),
            (Protocol::All, Some(1), Some(1)),
            (Protocol::Icmp, Some(8), Some(0)),
        ] {
            assert!(rule(protocol, from, to).fault().is_some(), "{protocol:?} {from:?} {to:?}");
        }
    }
}
