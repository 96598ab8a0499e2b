//! kyro-rmi
