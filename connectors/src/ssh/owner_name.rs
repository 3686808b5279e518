//! An owner or a group, by name or by number, as it stands in parameters.

use nexplane_agent::host::shadow::AccountName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::command::Command;
use super::session::Session;
use crate::sdk::ConnectorError;

/// A local account's or group's name, or a number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum OwnerName {
    Name(AccountName),
    Number(u32),
}

impl TryFrom<String> for OwnerName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            // 4294967295 is "leave it as it is" to chown(2), not an account.
            let number = text.parse().ok().filter(|number| *number != u32::MAX);
            return number
                .map(Self::Number)
                .ok_or_else(|| "it is no number of an account".to_owned());
        }
        AccountName::try_from(text).map(Self::Name).map_err(|why| why.to_string())
    }
}

impl std::fmt::Display for OwnerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl JsonSchema for OwnerName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OwnerName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([A-Za-z_][A-Za-z0-9_.-]{0,63}|[0-9]{1,10})$",
        })
    }
}

/// Which file of names is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Account,
    Group,
}

impl OwnerName {
    /// Its number; none when the host does not know the name.
    pub async fn number(
        &self,
        session: &Session,
        kind: Kind,
    ) -> Result<Option<u32>, ConnectorError> {
        let name = match self {
            Self::Number(number) => return Ok(Some(*number)),
            Self::Name(name) => name,
        };
        let command = match kind {
            Kind::Account => Command::Account(name),
            Kind::Group => Command::Group(name),
        };
        let text = session.ask(&command).await?.text();
        Ok(text.lines().find_map(|line| {
            let mut parts = line.split(':');
            (parts.next()? == name.as_str()).then(|| parts.nth(1)?.parse().ok()).flatten()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_told_apart() {
        let read = |text: &str| OwnerName::try_from(text.to_owned());
        assert_eq!(read("33"), Ok(OwnerName::Number(33)));
        assert!(matches!(read("www-data"), Ok(OwnerName::Name(_))));
        for bad in
            ["", "-1", "4294967295", "4294967296", "33x", "a b", "a:b", "--from", "$(id)", "+33"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
