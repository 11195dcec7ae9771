//! Nodes that do not keep to the rules, by hand.

mod askers;
mod attacker;
mod responders;
