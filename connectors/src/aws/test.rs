//! One line per permission that discovery or an action needs.

use std::collections::BTreeMap;

use nexplane_core::plan::Check;

use super::{Aws, Session, discover, permission};
use crate::sdk::{Connector, ConnectorError, check};

/// Every permission, and what needs it, in the order of the alphabet.
pub fn needs() -> BTreeMap<String, Vec<String>> {
    let mut needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in discover::PERMISSIONS {
        needs.entry(call.to_owned()).or_default().push("discovery".to_owned());
    }
    for spec in Aws::actions().specs() {
        for call in &spec.permissions {
            let action = spec.id.rsplit('.').next().unwrap_or(&spec.id);
            needs.entry(call.clone()).or_default().push(action.to_owned());
        }
    }
    needs
}

pub async fn test(session: &Session) -> Result<Vec<Check>, ConnectorError> {
    let detail = format!("{} in region {}", session.identity.arn, session.region);
    let mut checks = vec![check("sts:GetCallerIdentity", true, detail)];
    let needs = needs();
    let calls: Vec<&str> = needs.keys().map(String::as_str).collect();
    // Whether a policy names single things only is not known here: that is for each plan to find out.
    let found = permission::simulated(session, &calls, "*").await?;
    let told_apart = found.len() == calls.len();
    for (found, (call, by)) in found.into_iter().zip(&needs) {
        if told_apart {
            let detail = format!("{}; for {}", found.detail, by.join(", "));
            checks.push(Check { name: call.clone(), detail, ..found });
        } else {
            checks.push(found);
        }
    }
    Ok(checks)
}
