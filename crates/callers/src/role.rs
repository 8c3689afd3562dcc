//! What people and services may do, by role.

use casemate_model::words;

words! {
    /// What a caller is to this gateway.
    Role {
        /// Looks.
        Reader = "reader",
        /// Runs calls and keeps sessions in order.
        Operator = "operator",
        /// Decides what others ask for.
        Approver = "approver",
        /// Writes policies.
        Author = "author",
        /// Says who the others are.
        Administrator = "administrator",
    }
}
words! {
    /// One thing that can be done with a gateway.
    Permission {
        /// Look at calls and their outcomes.
        ReadCalls = "read_calls",
        /// Look at sessions.
        ReadSessions = "read_sessions",
        /// Look at the ledger.
        ReadRecords = "read_records",
        /// Look at what records seal: code, arguments, paths.
        ReadContent = "read_content",
        /// Look at policies.
        ReadPolicies = "read_policies",
        /// Look at who may call.
        ReadCallers = "read_callers",
        /// Run calls, as far as policy allows each.
        RunCalls = "run_calls",
        /// Give part of one's own authority to somebody else.
        Delegate = "delegate",
        /// Make, empty and end sessions.
        ManageSessions = "manage_sessions",
        /// Answer for a call that waits.
        DecideApprovals = "decide_approvals",
        /// Answer for what a new policy permits.
        ApprovePolicies = "approve_policies",
        /// Stop things.
        ThrowSwitches = "throw_switches",
        /// Let things run again.
        LiftSwitches = "lift_switches",
        /// Write and stage policies.
        ManagePolicies = "manage_policies",
        /// Make and revoke keys and envelopes of others.
        ManageCallers = "manage_callers",
    }
}

use Permission::{
    ApprovePolicies, DecideApprovals, Delegate, LiftSwitches, ManageCallers, ManagePolicies,
    ManageSessions, ReadCallers, ReadCalls, ReadContent, ReadPolicies, ReadRecords, ReadSessions,
    RunCalls, ThrowSwitches,
};

/// What calls were about is for those who run or approve them.
/// Duties are separate: who writes a policy does not approve it, who asks does not decide, and who says who the
/// others are does neither. Stopping is for everyone who acts; letting run again is not for those who run.
const TABLE: &[(Role, &[Permission])] = &[
    (
        Role::Reader,
        &[ReadCalls, ReadSessions, ReadRecords, ReadPolicies],
    ),
    (
        Role::Operator,
        &[
            ReadCalls,
            ReadSessions,
            ReadRecords,
            ReadContent,
            ReadPolicies,
            RunCalls,
            Delegate,
            ManageSessions,
            ThrowSwitches,
        ],
    ),
    (
        Role::Approver,
        &[
            ReadCalls,
            ReadSessions,
            ReadRecords,
            ReadContent,
            ReadPolicies,
            DecideApprovals,
            ApprovePolicies,
            ThrowSwitches,
        ],
    ),
    (
        Role::Author,
        &[
            ReadCalls,
            ReadSessions,
            ReadRecords,
            ReadPolicies,
            ManagePolicies,
        ],
    ),
    (
        Role::Administrator,
        &[
            ReadCalls,
            ReadSessions,
            ReadRecords,
            ReadPolicies,
            ReadCallers,
            ManageSessions,
            ThrowSwitches,
            LiftSwitches,
            ManageCallers,
        ],
    ),
];

impl Role {
    /// Whether this role may do it.
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }

    /// All that this role may do.
    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        TABLE
            .iter()
            .find(|(role, _)| *role == self)
            .map_or(&[], |(_, permissions)| permissions)
    }

    /// Whether an envelope may carry it. Deciding, writing policies and saying who is who stay with those they were given to.
    #[must_use]
    pub const fn is_delegable(self) -> bool {
        matches!(self, Self::Reader | Self::Operator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair, for people to read. The columns are the roles in their order.
    const MATRIX: &str = "
                          reader operator approver author administrator
        read_calls          yes    yes      yes     yes      yes
        read_sessions       yes    yes      yes     yes      yes
        read_records        yes    yes      yes     yes      yes
        read_content         -     yes      yes      -        -
        read_policies       yes    yes      yes     yes      yes
        read_callers         -      -        -       -       yes
        run_calls            -     yes       -       -        -
        delegate             -     yes       -       -        -
        manage_sessions      -     yes       -       -       yes
        decide_approvals     -      -       yes      -        -
        approve_policies     -      -       yes      -        -
        throw_switches       -     yes      yes      -       yes
        lift_switches        -      -        -       -       yes
        manage_policies      -      -        -      yes       -
        manage_callers       -      -        -       -       yes
    ";

    /// R153: roles and what each may do are a table, and nothing else.
    #[test]
    fn the_table_is_this_one() {
        let mut lines = MATRIX
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let roles: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        let known: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
        assert_eq!(roles, known);
        let mut permissions = Vec::new();
        for line in lines {
            let mut cells = line.split_whitespace();
            let permission = Permission::from_word(cells.next().unwrap()).unwrap();
            permissions.push(permission);
            let cells: Vec<_> = cells.collect();
            assert_eq!(cells.len(), Role::ALL.len(), "{line}");
            for (role, cell) in Role::ALL.iter().zip(cells) {
                assert_eq!(role.may(permission), cell == "yes", "{role} {permission}");
            }
        }
        assert_eq!(permissions, Permission::ALL);
    }

    /// The pairs that nobody may hold by one role.
    #[test]
    fn duties_are_separate() {
        let apart = [
            (RunCalls, DecideApprovals),
            (ManagePolicies, ApprovePolicies),
            (ManageCallers, DecideApprovals),
            (ManageCallers, ApprovePolicies),
            (ManageCallers, RunCalls),
            (RunCalls, LiftSwitches),
        ];
        for role in Role::ALL {
            for (one, other) in apart {
                assert!(
                    !(role.may(one) && role.may(other)),
                    "{role}: {one}, {other}"
                );
            }
        }
    }

    #[test]
    fn each_role_is_in_the_table_once_and_nothing_is_written_twice() {
        let roles: Vec<_> = TABLE.iter().map(|(role, _)| *role).collect();
        assert_eq!(roles, Role::ALL);
        for (role, permissions) in TABLE {
            let mut sorted = permissions.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), permissions.len(), "{role}");
            assert!(!role.is_delegable() || !role.may(DecideApprovals), "{role}");
        }
    }
}
