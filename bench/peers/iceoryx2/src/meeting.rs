// SPDX-License-Identifier: Apache-2.0

//! Where client and server meet: the iceoryx2 services of one `at`, configured alike on both sides.

use core::fmt::Debug;
use core::time::Duration;

use iceoryx2::node::Node;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::{event, request_response};

/// Not the thread-safe variant: each side has one thread.
pub type Kind = ipc::Service;
pub type Calls<Header> = request_response::PortFactory<Kind, [u8], Header, [u8], ()>;
pub type Events = event::PortFactory<Kind>;

/// What a request carries beside its bytes: nothing, or the listener that waits for the answer.
pub trait Header: Debug + Default + ZeroCopySend + 'static {}
impl Header for () {}
impl Header for u128 {}

pub const CLIENTS_MAX: usize = 16;
/// Calls in flight per client that there is a service for: the smaller this number, the faster a
/// single call, because every call goes on to the next of as many channels. A client takes the
/// first service that is enough for it.
pub const DEPTHS: [usize; 3] = [1, 8, 64];
pub const ANSWER_BYTES_MAX: usize = 64;
/// A listener of iceoryx2 0.10.0 can miss a notification that comes while it is waking up for
/// another, and sleep on. So nobody sleeps for longer; iceoryx2's examples wait like this, too.
pub const SLEEP_MAX: Duration = Duration::from_millis(10);

pub fn node() -> Node<Kind> {
    set_log_level(LogLevel::Fatal);
    NodeBuilder::new()
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create()
        .unwrap_or_else(|error| die(&format!("cannot create a node: {error:?}")))
}

/// The request-response service for `depth` calls in flight per client. What is not set here is as
/// the library has it.
pub fn calls<H: Header>(node: &Node<Kind>, at: &str, depth: usize) -> Calls<H> {
    node.service_builder(&name(at, &format!("calls-{depth}")))
        .request_response::<[u8], [u8]>()
        .request_user_header::<H>()
        .max_servers(1)
        .max_clients(CLIENTS_MAX)
        .max_nodes(CLIENTS_MAX + 1)
        .max_active_requests_per_client(depth)
        .open_or_create()
        .unwrap_or_else(|error| die(&format!("cannot open the service: {error:?}")))
}

/// The event that wakes `whom`, "server" or "client".
pub fn events(node: &Node<Kind>, at: &str, whom: &str) -> Events {
    node.service_builder(&name(at, whom))
        .event()
        .max_notifiers(CLIENTS_MAX)
        .max_listeners(CLIENTS_MAX)
        .max_nodes(CLIENTS_MAX + 1)
        .open_or_create()
        .unwrap_or_else(|error| die(&format!("cannot open the event: {error:?}")))
}

fn name(at: &str, what: &str) -> ServiceName {
    let text = format!("carom-bench{at}/{what}");
    ServiceName::new(&text).unwrap_or_else(|error| die(&format!("name {text}: {error:?}")))
}

/// Ends the program with one line.
pub fn die(reason: &str) -> ! {
    eprintln!("iceoryx2: {reason}");
    std::process::exit(1)
}
