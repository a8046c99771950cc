//! An edge's data plane between real users and scripted agents, over loopback.

mod body;
mod fabric;
mod failure;
mod lifecycle;
mod special;
mod user;
