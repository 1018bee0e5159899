package postgres_test

import (
	"testing"

	"github.com/contauth/contauth/billing"
	"github.com/contauth/contauth/scheduler"
)

// Whatever ends or reopens a charge, the open charges are those that are not finished.
func TestOpenCharges(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := d.charge()
	isOpen := func(want bool) {
		t.Helper()
		if got := get[bool](d, `SELECT EXISTS (SELECT FROM open_charges k JOIN charges c ON c.id = k.charge_id AND c.token_id = k.token_id WHERE c.id = $1)`, id); got != want {
			t.Errorf("open: %v, want %v", got, want)
		}
	}
	isOpen(true)
	d.exec(`UPDATE charges SET token_id = (SELECT token_id FROM charges WHERE id = $2) WHERE id = $1`, id, d.charge())
	isOpen(true)
	if _, err := d.db.ClosePaidElsewhere(t.Context(), id, by("bank transfer")); err != nil {
		t.Fatal(err)
	}
	isOpen(false)
	d.exec(`UPDATE charges SET state = 'due', reason = '', finished_at = NULL WHERE id = $1`, id)
	isOpen(true)
	claim, err := d.db.ClaimDue(t.Context(), d.claimRequest(d.run(id)))
	if err != nil || len(claim.Charges) != 1 {
		t.Fatalf("claimed %d charges, error %v", len(claim.Charges), err)
	}
	isOpen(true)
	if _, err := d.db.CancelCharge(t.Context(), id, by("cancelled in time")); err != nil {
		t.Fatal(err)
	}
	if err := d.db.GiveBack(t.Context(), claim.Charges, []scheduler.ClaimID{claim.ID}); err != nil {
		t.Fatal(err)
	}
	isOpen(false)

	id = d.charge()
	claim, err = d.db.ClaimDue(t.Context(), d.claimRequest(d.run(id)))
	if err != nil || len(claim.Charges) != 1 {
		t.Fatalf("claimed %d charges, error %v", len(claim.Charges), err)
	}
	paid := billing.Settle(&claim.Charges[0], billing.Reply{Outcome: billing.OutcomeAuthorised}, nil, nil)
	if _, err := d.db.Settle(t.Context(), []*billing.Settlement{&paid}, []scheduler.ClaimID{claim.ID}); err != nil {
		t.Fatal(err)
	}
	isOpen(false)
}
