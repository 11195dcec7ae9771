//! What happens to the sockets of a DHT, for its listeners for events.

use p2p_core::runtime::SocketEvent;
use p2p_core::{EventBus, EventListener, RecvError};
use p2p_net::Endpoint;

use crate::KademliaEvent;

/// Passes on what happens to the socket at `endpoint`, for as long as it is open.
pub(crate) async fn pass_on(
    endpoint: Endpoint,
    mut socket: EventListener<SocketEvent>,
    events: EventBus<KademliaEvent>,
) {
    loop {
        let event = match socket.recv().await {
            Ok(event) => event,
            // The next event says how it is now.
            Err(RecvError::Lagged(_)) => continue,
            Err(_) => return,
        };
        let endpoint = endpoint.clone();
        match event {
            SocketEvent::Failed(error) => {
                events.emit(KademliaEvent::ListenFailed { endpoint, kind: error.kind(), error: error.to_string() });
            }
            SocketEvent::Bound => events.emit(KademliaEvent::Listening { endpoint }),
            // The enum may grow.
            _ => {}
        }
    }
}
