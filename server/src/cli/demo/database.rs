//! `shop-db`: a PostgreSQL to practise on.

use std::path::Path;

use anyhow::Context as _;
use nexplane_store::embedded::{Cluster, ClusterOptions, Network};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::Connection as _;

/// A second cluster, reachable over TLS on this machine only, with people and rights in it.
pub async fn start(dir: &Path) -> anyhow::Result<Cluster> {
    let cluster = Cluster::open(ClusterOptions {
        network: Network::Loopback { port: 0, tls: true },
        superuser: "nexplane_admin".to_owned(),
        // Nobody misses it after a power cut, and it is ready sooner.
        fsync: false,
        ..ClusterOptions::new(dir.join("target"))
    })
    .await?;
    cluster.create_database("shop").await?;
    let mut db = sqlx::PgConnection::connect_with(&cluster.connect_options("shop")).await?;
    sqlx::raw_sql(
        "CREATE SCHEMA sales;
         CREATE TABLE sales.orders (id bigint PRIMARY KEY, total numeric NOT NULL);
         CREATE TABLE sales.customers (id bigint PRIMARY KEY, name text NOT NULL);
         CREATE ROLE sales_read NOLOGIN;
         GRANT USAGE ON SCHEMA sales TO sales_read;
         GRANT SELECT ON ALL TABLES IN SCHEMA sales TO sales_read;
         CREATE ROLE app_orders LOGIN PASSWORD 'practise-1';
         GRANT USAGE ON SCHEMA sales TO app_orders;
         GRANT SELECT, INSERT, UPDATE ON sales.orders TO app_orders;
         CREATE ROLE reporting LOGIN PASSWORD 'practise-2' IN ROLE sales_read;
         CREATE ROLE contractor LOGIN PASSWORD 'practise-3' IN ROLE sales_read;
         CREATE ROLE intern LOGIN PASSWORD 'practise-4' IN ROLE sales_read;
         CREATE ROLE legacy_batch LOGIN PASSWORD 'practise-5';",
    )
    .execute(&mut db)
    .await?;
    db.close().await?;
    Ok(cluster)
}

/// How it is reached.
pub fn connection(target: &Cluster) -> anyhow::Result<Value> {
    let ca = target.ca_path().context("the target uses TLS")?;
    Ok(json!({
        "name": "shop-db",
        "type": "postgres",
        "environment": "staging",
        "credentials": {
            "host": "localhost",
            "port": target.port(),
            "database": "shop",
            "username": target.superuser(),
            "password": target.password().expose_secret(),
            "ssl_mode": "verify-full",
            "ca_certificate": std::fs::read_to_string(ca)?,
        }
    }))
}
