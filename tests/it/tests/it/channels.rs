//! Connecting, refusing and listing channels (CH), secrets (PV), the API (AP).
