"""The counter: staff and their logins, work begun for a resident, who looked at what, what two people must agree on."""
