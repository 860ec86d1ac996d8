//! Who a message belongs to (CT).
