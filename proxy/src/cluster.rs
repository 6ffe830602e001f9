//! A live cluster: endpoints, balancer, connection pool.
