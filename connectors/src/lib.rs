//! How Nexplane acts on the world: one folder per connector, one file per action.
