package main

import "github.com/spf13/cobra"

// group completes a command that only holds others: alone it shows its help.
func group(cmd *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(commands...)
	return cmd
}

// exactArgs is cobra.ExactArgs in words that say what is wanted.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError("%s takes %s and nothing else, not %s", cmd.CommandPath(), what, counted(len(args), "argument"))
		}
		return nil
	}
}

// optionalArg is exactArgs for an argument that may be left out.
func optionalArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return exactArgs(1, what)(cmd, args)
	}
}

func addReasonFlag(cmd *cobra.Command, why *string) {
	cmd.Flags().StringVar(why, "reason", "", "why, kept on record (required)")
}

func addAccountFlag(cmd *cobra.Command, account *string) {
	cmd.Flags().StringVar(account, "merchant-account", "", "the merchant `ACCOUNT` that the reference belongs to, where more than one has it")
}

func addFormatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", formatTable, "table, csv or json (one object a line)")
}
