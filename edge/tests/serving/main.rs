//! An edge's data plane between real users and scripted agents, over loopback.

mod body;
mod failure;
mod fabric;
mod lifecycle;
mod special;
mod user;
