//! [`forward_runtime`](crate::forward_runtime).

/// Methods of a [`Runtime`](crate::Runtime) that is another one but for a few things: those named do what the field's do.
///
/// ```
/// use std::io;
/// use std::net::{IpAddr, Ipv6Addr};
/// use std::sync::Arc;
///
/// use p2p_core::Runtime;
/// use p2p_core::runtime::BoxFuture;
///
/// /// Every host name is this machine's.
/// #[derive(Debug)]
/// struct AllLocal {
///     inner: Arc<dyn Runtime>,
/// }
///
/// impl Runtime for AllLocal {
///     p2p_core::forward_runtime!(inner: spawn, run_blocking, now, system_time, timer, fill_random);
///     p2p_core::forward_runtime!(inner: tcp_connect, tcp_listen, udp_bind, udp_connect, files);
///
///     fn resolve(&self, _: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
///         Box::pin(async { Ok(vec![Ipv6Addr::LOCALHOST.into()]) })
///     }
/// }
/// ```
#[macro_export]
macro_rules! forward_runtime {
    ($inner:ident: $($method:ident),+) => {
        $($crate::forward_runtime!(@ $method $inner);)+
    };
    (@ spawn $inner:ident) => {
        fn spawn(&self, future: $crate::runtime::BoxFuture<()>) {
            self.$inner.spawn(future);
        }
    };
    (@ run_blocking $inner:ident) => {
        fn run_blocking(&self, work: ::std::boxed::Box<dyn FnOnce() + Send>) {
            self.$inner.run_blocking(work);
        }
    };
    (@ now $inner:ident) => {
        fn now(&self) -> ::std::time::Instant {
            self.$inner.now()
        }
    };
    (@ system_time $inner:ident) => {
        fn system_time(&self) -> ::std::time::SystemTime {
            self.$inner.system_time()
        }
    };
    (@ timer $inner:ident) => {
        fn timer(&self, deadline: ::std::time::Instant) -> ::std::pin::Pin<::std::boxed::Box<dyn $crate::runtime::Timer>> {
            self.$inner.timer(deadline)
        }
    };
    (@ fill_random $inner:ident) => {
        fn fill_random(&self, bytes: &mut [u8]) {
            self.$inner.fill_random(bytes);
        }
    };
    (@ tcp_connect $inner:ident) => {
        fn tcp_connect(
            &self,
            addr: ::std::net::SocketAddr,
        ) -> $crate::runtime::BoxFuture<::std::io::Result<::std::boxed::Box<dyn $crate::runtime::ByteStream>>> {
            self.$inner.tcp_connect(addr)
        }
    };
    (@ tcp_listen $inner:ident) => {
        fn tcp_listen(
            &self,
            addr: ::std::net::SocketAddr,
        ) -> ::std::io::Result<::std::boxed::Box<dyn $crate::runtime::ByteListener>> {
            self.$inner.tcp_listen(addr)
        }
    };
    (@ udp_bind $inner:ident) => {
        fn udp_bind(
            &self,
            addr: ::std::net::SocketAddr,
        ) -> ::std::io::Result<::std::sync::Arc<dyn $crate::runtime::UdpSocket>> {
            self.$inner.udp_bind(addr)
        }
    };
    (@ udp_connect $inner:ident) => {
        fn udp_connect(
            &self,
            remote: ::std::net::SocketAddr,
        ) -> ::std::io::Result<::std::boxed::Box<dyn $crate::runtime::ConnectedUdp>> {
            self.$inner.udp_connect(remote)
        }
    };
    (@ resolve $inner:ident) => {
        fn resolve(
            &self,
            host: &str,
        ) -> $crate::runtime::BoxFuture<::std::io::Result<::std::vec::Vec<::std::net::IpAddr>>> {
            self.$inner.resolve(host)
        }
    };
    (@ files $inner:ident) => {
        fn files(&self) -> &dyn $crate::FileSystem {
            self.$inner.files()
        }
    };
}
