//! New connections: accepting them, and waiting when there are no descriptors left.
//!
//! Knows listeners; what a connection then does is the reactor's.

use crate::server::connection::Connection;
use crate::server::connection::Inner;
use crate::server::fastcgi;
use crate::server::http;
use crate::server::listen::Listener;
use crate::server::listen::Speaks;
use crate::server::reactor::BUDGET;
use crate::server::reactor::Hand;
use crate::server::reactor::LISTENER;
use crate::server::reactor::Reactor;
use crate::server::reactor::lock;
use crate::server::wire::Wire;
use rustix::event::epoll;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Reactor {
    /// Accepts what waits, and reads it at once: a peer that connects has mostly written already.
    pub(in crate::server::reactor) fn accept(&self, number: usize, hand: &mut Hand) {
        let Some(listener) = lock(&self.listeners).get(number).map(Arc::clone) else {
            return;
        };
        for _ in 0..BUDGET {
            if self.live.load(Ordering::Relaxed) >= self.max_connections {
                self.starved.store(true, Ordering::Release);
                return;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(&listener.socket, flags) {
                Ok((socket, peer)) => {
                    let wire = match &listener.speaks {
                        Speaks::FastCgi => Wire::FastCgi(fastcgi::Wire::new(self.max_connections)),
                        Speaks::Http(local) => {
                            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                            let remote = peer.map_or(String::new(), |p| p.ip().to_canonical().to_string());
                            Wire::Http(Box::new(http::Wire::new(Arc::clone(local), remote)))
                        }
                    };
                    self.live.fetch_add(1, Ordering::AcqRel);
                    let serial = self.serial.fetch_add(1, Ordering::Relaxed);
                    let connection = Arc::new(Connection::new(serial, Inner::new(socket, wire)));
                    self.with(&connection, hand, |inner, hand| {
                        self.drive(&connection, inner, hand);
                    });
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    // tried again when a connection closes, or in a second
                    if !self.starved.swap(true, Ordering::AcqRel) {
                        log::warn!("no descriptors are left for new connections");
                    }
                    return;
                }
                Err(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => return,
                // a connection that broke before it was accepted (accept(2))
                Err(_) => {}
            }
        }
        let _ = self.watch_listener(number, &listener);
    }

    pub(in crate::server::reactor) fn watch_listeners(&self) -> io::Result<()> {
        for (number, listener) in lock(&self.listeners).iter().enumerate() {
            self.watch_listener(number, listener)?;
        }
        Ok(())
    }

    /// Watches a listener; one that has connections waiting is announced again.
    fn watch_listener(&self, number: usize, listener: &Listener) -> io::Result<()> {
        let token = LISTENER | u64::try_from(number).unwrap_or(0);
        let data = epoll::EventData::new_u64(token);
        let flags = EventFlags::IN | EventFlags::ET;
        match epoll::add(&self.epoll, &listener.socket, data, flags) {
            Err(Errno::EXIST) => epoll::modify(&self.epoll, &listener.socket, data, flags)?,
            other => other?,
        }
        Ok(())
    }

    /// Accepts again after there were no descriptors.
    pub(in crate::server::reactor) fn feed(&self) {
        if self.starved.swap(false, Ordering::AcqRel) && !self.draining.load(Ordering::Acquire) {
            let _ = self.watch_listeners();
        }
    }
}
