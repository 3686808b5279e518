//! Given – when – then.
