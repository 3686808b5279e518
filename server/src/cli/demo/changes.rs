//! Changes of the database and of the host, in different states.

use nexplane_core::api::{AssetView, ConnectionView};
use nexplane_core::id::ConnectionId;
use serde_json::{Value, json};

use super::sandbox::Sandbox;

/// In every state that a change rests in.
pub async fn make(
    sandbox: &Sandbox,
    shop: &ConnectionView,
    (host, machine): (ConnectionId, AssetView),
) -> anyhow::Result<()> {
    let role = |name: &str| format!("{}/role/{name}", shop.name);
    let on_shop = |title, kind, target: String| (title, kind, shop.id, target, json!({}));
    let on_host = |title, kind, parameters| (title, kind, host, machine.id.to_string(), parameters);

    let undone = sandbox
        .complete(on_shop(
            "Lock the reporting account while its key is examined",
            "postgres.lock_user",
            role("reporting"),
        ))
        .await?;
    sandbox.roll_back(&undone).await?;
    let undone = sandbox
        .complete(on_host(
            "Turn the debug switch of the shop off",
            "host.set_file_content",
            json!({ "path": "/etc/shop/app.toml", "content": "workers = 4\ndebug = false\n" }),
        ))
        .await?;
    sandbox.roll_back(&undone).await?;
    sandbox
        .complete(on_shop(
            "Lock the intern's account: internship over",
            "postgres.lock_user",
            role("intern"),
        ))
        .await?;
    sandbox.complete(on_host(
        "Announce the maintenance on Saturday",
        "host.set_file_content",
        json!({ "path": "/etc/motd", "content": "Welcome to web-1.\nMaintenance on Saturday, 06:00 UTC.\n" }),
    ))
    .await?;
    let refused = sandbox
        .submit(on_shop(
            "Drop the batch user nobody remembers",
            "postgres.drop_user",
            role("legacy_batch"),
        ))
        .await?;
    let [first, _] = &sandbox.approvers;
    let reason = json!({ "reason": "The night batch still logs in with it. Lock it first." });
    let _: Value = first.post(&format!("/change-requests/{}/reject", refused.id), &reason).await?;
    let approved = sandbox
        .submit(on_host(
            "Take the write bit for everybody off the backup script",
            "host.set_file_permission",
            json!({ "path": "/etc/shop/backup.sh", "mode": "0755" }),
        ))
        .await?;
    sandbox.approve(&approved).await?;
    sandbox
        .submit(on_shop(
            "Lock the contractor: contract ended",
            "postgres.lock_user",
            role("contractor"),
        ))
        .await?;
    sandbox
        .draft(on_shop(
            "Rotate the password of the order service",
            "postgres.rotate_user_password",
            role("app_orders"),
        ))
        .await?;
    Ok(())
}
