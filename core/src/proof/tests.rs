//! Published vectors and refusals. What holds for all trees is in `core/tests/proof`.

mod bundle;
mod tile;
mod tree;
