//! What Nexplane decides: aggregates, policy, risk, plans, catalog, wire types.
